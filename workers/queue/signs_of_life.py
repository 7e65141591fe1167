"""Signs of life that a worker's child process shows its supervisor, in memory that both share."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from typing import Protocol

from workers.device_turns import Step

PLACES = 2
"""How many jobs a worker has at most in hand: one that computes, and one that is read or drawn beside it."""
_READY, _POLLED, _FIRST = range(3)
_OCCUPANT, _STEP, _SINCE, _SPENT = range(4)
_CELLS = 4
_FIT = -1
"""What stands for a fit request; a job is its number, which is never 0."""


class _Cells(Protocol):
    def __getitem__(self, index: int) -> float: ...
    def __setitem__(self, index: int, value: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Occupant:
    """A job in hand, or a fit request (``job`` is None): how far it is, and how long it was at work, not waiting."""

    job: int | None
    step: Step
    seconds: float


class WorkPlace:
    """One of the places where a job is worked on."""

    def __init__(self, cells: _Cells, number: int) -> None:
        self._cells = cells
        self._start = _FIRST + number * _CELLS

    def occupy(self, job: int | None) -> None:
        """Note that a job, or a fit request, begins; it waits at first."""
        for cell, value in ((_STEP, Step.WAITING), (_SINCE, time.monotonic()), (_SPENT, 0.0)):
            self._cells[self._start + cell] = value
        self._cells[self._start + _OCCUPANT] = _FIT if job is None else job

    def leave(self) -> None:
        """Note that it ended."""
        self._cells[self._start + _OCCUPANT] = 0.0

    def mark(self, step: Step) -> None:
        """Note how far it is. The order of the writes lets a reader see too little time at work, never too much."""
        before, now = self._cells[self._start + _STEP], time.monotonic()
        if before == Step.WAITING:
            self._cells[self._start + _SINCE] = now
        self._cells[self._start + _STEP] = step
        if step is Step.WAITING and before != Step.WAITING:
            self._cells[self._start + _SPENT] += now - self._cells[self._start + _SINCE]

    @property
    def occupant(self) -> Occupant | None:
        """Who is there."""
        occupant, step, since, spent = (self._cells[self._start + cell] for cell in range(_CELLS))
        if not occupant:
            return None
        running = 0.0 if step == Step.WAITING else time.monotonic() - since
        return Occupant(None if occupant == _FIT else int(occupant), Step(int(step)), spent + running)


class SignsOfLife:
    """Times on the monotonic clock, which all processes of a machine share; 0 means never.

    Plain shared memory rather than the database: a database that is down must not make a healthy worker look dead.
    """

    def __init__(self) -> None:
        self._cells: _Cells = RawArray("d", _FIRST + PLACES * _CELLS)
        # The threads of one process take places from it; its operations are atomic.
        self._free = deque(range(PLACES))

    def mark_ready(self) -> None:
        """Note that the models are loaded."""
        self._cells[_READY] = time.monotonic()

    def mark_poll(self) -> None:
        """Note that the queues were just asked for work."""
        self._cells[_POLLED] = time.monotonic()

    @contextmanager
    def at_work(self, job: int | None) -> Iterator[WorkPlace]:
        """Show that a job, or a fit request (None), is in hand while the block runs."""
        number = self._free.popleft()
        place = WorkPlace(self._cells, number)
        place.occupy(job)
        try:
            yield place
        finally:
            place.leave()
            self._free.append(number)

    @property
    def occupants(self) -> tuple[Occupant, ...]:
        """What is in hand, and what was when the process died."""
        places = (WorkPlace(self._cells, number).occupant for number in range(PLACES))
        return tuple(occupant for occupant in places if occupant is not None)

    @property
    def is_ready(self) -> bool:
        """Whether the models are loaded."""
        return self._cells[_READY] > 0

    @property
    def is_busy(self) -> bool:
        """Whether a job is in hand; the time limit watches over that, not the silence limit."""
        return bool(self.occupants)

    @property
    def last_sign(self) -> float:
        """When the process last polled or became ready."""
        return max(self._cells[_READY], self._cells[_POLLED])
