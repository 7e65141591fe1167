"""The progress display: one line per step, with its seconds; a moving sign where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

_MARK, _CROSS = "✓", "✗"


@dataclass(frozen=True, slots=True)
class StepDisplay:
    """The steps of a demonstration on a terminal; ``seconds`` keeps how long each took."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, words: str) -> Iterator[None]:
        """Show a step while the block runs and its seconds when it is done, or a cross where it failed."""
        started = time.monotonic()
        try:
            with self.console.status(f"{words} …"):
                yield
        except BaseException:  # the step is marked as failed, whatever stopped it; raised again
            self.console.print(f"[red]{_CROSS}[/red] {words}", highlight=False)
            raise
        self.seconds[words] = time.monotonic() - started
        self.console.print(
            f"[green]{_MARK}[/green] {words} [dim]{self.seconds[words]:.1f} s[/dim]", highlight=False, soft_wrap=True
        )
