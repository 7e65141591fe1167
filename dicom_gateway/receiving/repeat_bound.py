"""What a peer may repeat: so much of it in a while is put on record one by one, the rest is counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

_WINDOW = timedelta(minutes=10)
_MOST_PER_SUBJECT = 50
_MOST_SUBJECTS = 200


@dataclass(slots=True)
class _Count:
    began: datetime
    recorded: int = 0
    left_out: int = 0


class RepeatBound:
    """Fifty in ten minutes of each subject. Beyond 200 subjects the rest share one. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, ...], _Count] = {}

    def add(self, *subject: str, now: datetime) -> int | None:
        """Return None where this one is to be left out, else how many were left out since the last one that was not."""
        with self._lock:
            count = self._count(subject, now)
            if count.recorded >= _MOST_PER_SUBJECT:
                count.left_out += 1
                return None
            count.recorded += 1
            left_out, count.left_out = count.left_out, 0
            return left_out

    def _count(self, subject: tuple[str, ...], now: datetime) -> _Count:
        if subject not in self._counts and len(self._counts) >= _MOST_SUBJECTS:
            self._counts = {
                key: count for key, count in self._counts.items() if now - count.began < _WINDOW or count.left_out
            }
            subject = subject if len(self._counts) < _MOST_SUBJECTS else ()
        count = self._counts.setdefault(subject, _Count(now))
        if now - count.began >= _WINDOW:
            count.began, count.recorded = now, 0
        return count
