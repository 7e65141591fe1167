"""Wall time by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from storage.domain import StageTiming


class Stopwatch:
    """Measures the wall time of each stage, in the order in which they ran."""

    def __init__(self) -> None:
        self._timings: list[StageTiming] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        started = time.perf_counter()
        yield
        self._timings.append(StageTiming(name, round(time.perf_counter() - started, 4)))

    @property
    def timings(self) -> tuple[StageTiming, ...]:
        """The stages that have ended."""
        return tuple(self._timings)
