"""Count callers that are turned away until they are put on record: few rows, events and log lines, whatever comes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from dicom_gateway.receiving.admission import Caller, Refused
from storage.peer_usage import hour_of
from storage.refused_peers import Attempts

MOST_WAITING = 256
EVENTS_PER_HOUR = 30


class RefusalCount:
    """What was counted since it was last put on record. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str, str], Attempts] = {}

    def add(self, caller: Caller, refused: Refused, *, now: datetime) -> None:
        """Count one attempt; of new callers no more than MOST_WAITING until the next time that they are taken."""
        key = (caller.calling_aet, caller.called_aet, caller.address)
        with self._lock:
            known = self._waiting.get(key)
            if known is not None:
                self._waiting[key] = replace(known, code=refused.code, count=known.count + 1, last_at=now)
            elif len(self._waiting) < MOST_WAITING:
                self._waiting[key] = Attempts(*key, refused.code, 1, now, now)

    def take(self) -> tuple[Attempts, ...]:
        """Return what was counted and begin anew."""
        with self._lock:
            taken, self._waiting = tuple(self._waiting.values()), {}
            return taken

    def give_back(self, attempts: Sequence[Attempts]) -> None:
        """Take in again what could not be put on record."""
        with self._lock:
            for each in attempts:
                key = (each.calling_aet, each.called_aet, each.address)
                later = self._waiting.get(key)
                if later is not None:
                    self._waiting[key] = replace(later, count=later.count + each.count, first_at=each.first_at)
                elif len(self._waiting) < MOST_WAITING:
                    self._waiting[key] = each


class EventBudget:
    """How many events of refusals may still be written in this hour. For one thread."""

    def __init__(self) -> None:
        self._hour: datetime | None = None
        self._left = EVENTS_PER_HOUR
        self._is_told = False

    def left(self, now: datetime) -> int:
        """Return how many events may be written."""
        if hour_of(now) != self._hour:
            self._hour, self._left, self._is_told = hour_of(now), EVENTS_PER_HOUR, False
        return self._left

    def spend(self, news: int) -> bool:
        """Take note of news that were worth an event; True the first time in an hour that there were too many."""
        is_beyond = news > self._left and not self._is_told
        self._left = max(0, self._left - news)
        self._is_told = self._is_told or is_beyond
        return is_beyond
