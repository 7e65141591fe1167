"""Log lines that a peer can provoke, so many a minute and no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

_WINDOW_SECONDS = 60.0
_MOST_LINES_PER_SUBJECT = 5
_MOST_SUBJECTS = 100

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Count:
    written: int = 0
    left_out: int = 0


class BoundedLog:
    """Writes a few lines a minute for each event, code and address, and says at the minute's end how many were not.

    Beyond a hundred subjects a minute the rest share one, so a sender with many addresses gains nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._counts: dict[tuple[str, str, str], _Count] = {}

    def write(self, event: str, *, code: str, address: str, level: str = "info", **details: Any) -> None:
        """Write one line, or count it where there were enough of its kind within the minute."""
        with self._lock:
            finished = self._roll_over()
            key = (event, code, address)
            if key not in self._counts and len(self._counts) >= _MOST_SUBJECTS:
                key = (event, code, "many")
            count = self._counts.setdefault(key, _Count())
            is_written = count.written < _MOST_LINES_PER_SUBJECT
            count.written += is_written
            count.left_out += not is_written
        for (earlier, its_code, where), times in finished:
            logger.warning("log.lines_left_out", subject=earlier, code=its_code, address=where, times=times)
        if is_written:
            getattr(logger, level)(event, code=code, address=address, **details)

    def _roll_over(self) -> list[tuple[tuple[str, str, str], int]]:
        if self._clock() - self._began < _WINDOW_SECONDS:
            return []
        finished = [(key, count.left_out) for key, count in self._counts.items() if count.left_out]
        self._began, self._counts = self._clock(), {}
        return finished
