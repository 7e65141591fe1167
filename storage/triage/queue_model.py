"""How long studies wait to be read: a queue before some readers, with the arrivals that there were.

The model: every reader takes the most urgent study that waits, of equals the one that came first; a reading lasts the
same for every study, is never broken off, and readers are there day and night. Until a study is analysed, and where
its result is withheld, it counts as ROUTINE. Without priorities the study that came first is read first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from storage.domain import Priority

UNDECIDED = Priority.ROUTINE.rank
_SECONDS = 60.0
_BEGUN = -1


@dataclass(frozen=True, slots=True)
class Reading:
    """How many people read, 1 or more, and how many minutes each takes for a study, above 0."""

    readers: int = 2
    minutes_per_study: float = 10.0

    @property
    def seconds(self) -> float:
        """How long one reading lasts."""
        return self.minutes_per_study * _SECONDS


@dataclass(frozen=True, slots=True)
class Told:
    """When a priority became known of each study (seconds; infinite for never), and which rank it is."""

    at: Sequence[float]
    rank: Sequence[int]


@dataclass(frozen=True, slots=True)
class WaitingTimes:
    """How long a group of studies waited, in minutes: values that 50 % and 95 % of them do not exceed.

    ``percentiles`` holds 101 of them, from the shortest to the longest. All are None or empty without studies.
    """

    studies: int
    median_minutes: float | None
    percentile_95_minutes: float | None
    percentiles: tuple[float, ...]


def waits(arrived: Sequence[float], told: Told | None, reading: Reading) -> list[float]:
    """Return for each study how many seconds it waits; ``arrived`` are seconds in any order, None asks no priority."""
    queue = _Queue(arrived, _events(arrived, told), [UNDECIDED] * len(arrived))
    begun = [math.nan] * len(arrived)
    free, moment = [-math.inf] * reading.readers, -math.inf
    for _ in arrived:
        # A reader without work begins with whatever comes next, so never before another one did.
        moment, study = queue.next_from(max(heappop(free), moment))
        begun[study] = moment
        heappush(free, moment + reading.seconds)
    return [start - came for start, came in zip(begun, arrived, strict=True)]


def summary(seconds: Iterable[float]) -> WaitingTimes:
    """Return what a group of waits comes to."""
    ordered = sorted(seconds)
    if not ordered:
        return WaitingTimes(0, None, None, ())
    percentiles = tuple(_percentile(ordered, share) / _SECONDS for share in range(101))
    return WaitingTimes(len(ordered), percentiles[50], percentiles[95], percentiles)


def load(arrived: Sequence[float], reading: Reading) -> float | None:
    """Return how busy the readers are: 1 is always, more is more than they can read. None for fewer than two studies.

    ``arrived`` are seconds in any order.
    """
    seconds = max(arrived) - min(arrived) if arrived else 0.0
    return None if seconds == 0.0 else len(arrived) * reading.seconds / (reading.readers * seconds)


@dataclass(slots=True)
class _Queue:
    """Studies that wait, the next one on top of a heap, and what is still to happen: arrivals and priorities, by time.

    An entry (rank, arrival, study) counts while the study has that rank: one whose priority changes gets another.
    """

    arrived: Sequence[float]
    events: Sequence[tuple[float, int, int]]
    rank: list[int]
    waiting: list[tuple[int, float, int]] = field(default_factory=list)
    happened: int = 0

    def next_from(self, moment: float) -> tuple[float, int]:
        """Return when somebody who is free from a moment on begins to read, and which study; one must be left."""
        while True:
            self._let_happen(until=moment)
            while self.waiting and self.rank[self.waiting[0][2]] != self.waiting[0][0]:
                heappop(self.waiting)
            if self.waiting:
                _, _, study = heappop(self.waiting)
                self.rank[study] = _BEGUN
                return moment, study
            moment = self.events[self.happened][0]

    def _let_happen(self, *, until: float) -> None:
        while self.happened < len(self.events) and self.events[self.happened][0] <= until:
            _, study, rank = self.events[self.happened]
            if self.rank[study] != _BEGUN:
                self.rank[study] = rank
                heappush(self.waiting, (rank, self.arrived[study], study))
            self.happened += 1


def _events(arrived: Sequence[float], told: Told | None) -> list[tuple[float, int, int]]:
    """Return (moment, study, rank) of every arrival and of every priority that becomes known, by time."""
    events = [(moment, study, UNDECIDED) for study, moment in enumerate(arrived)]
    if told is not None:
        events += [
            (max(moment, arrived[study]), study, rank)
            for study, (moment, rank) in enumerate(zip(told.at, told.rank, strict=True))
            if rank != UNDECIDED and moment != math.inf
        ]
    return sorted(events, key=lambda event: event[:2])


def _percentile(ordered: Sequence[float], share: int) -> float:
    """Return the smallest value that ``share`` percent of the values do not exceed (nearest rank)."""
    return ordered[max(math.ceil(share * len(ordered) / 100), 1) - 1]
