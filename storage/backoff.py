"""How long to wait before something is tried again: twice as long each time, and no two alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

Draw = Callable[[], float]
"""A source of random numbers, each at least 0 and below 1: the ``random`` of a ``random.Random``."""

_MOST_DOUBLINGS = 30


def no_jitter() -> float:
    """Draw what leaves every pause at its full length."""
    return 0.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first pause and the longest one, in seconds."""

    first_seconds: float
    longest_seconds: float

    def pause(self, failures: int, *, draw: Draw) -> timedelta:
        """Return how long to wait after so many failures in a row.

        Up to a half is taken off at random, so that what failed together does not come back together.
        """
        # The exponent is bounded so that a peer that is down for weeks cannot overflow the pause.
        doubled = self.first_seconds * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS)
        return timedelta(seconds=min(doubled, self.longest_seconds) * (1.0 - draw() / 2.0))
