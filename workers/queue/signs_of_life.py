"""Signs of life that a worker's child process shows its supervisor, in memory that both share."""

from __future__ import annotations

import time
from multiprocessing.sharedctypes import RawArray
from typing import Protocol

_READY, _POLLED, _BUSY = range(3)


class _Cells(Protocol):
    def __getitem__(self, index: int) -> float: ...
    def __setitem__(self, index: int, value: float) -> None: ...


class SignsOfLife:
    """Times on the monotonic clock, which all processes of a machine share; 0 means never (or not busy).

    Plain shared memory rather than the database: a database that is down must not make a healthy worker look dead.
    """

    def __init__(self) -> None:
        self._cells: _Cells = RawArray("d", 3)

    def mark_ready(self) -> None:
        """Note that the models are loaded."""
        self._cells[_READY] = time.monotonic()

    def mark_poll(self) -> None:
        """Note that the queues were just asked for work."""
        self._cells[_POLLED] = time.monotonic()

    def mark_busy(self, *, busy: bool) -> None:
        """Note that a job began or ended."""
        self._cells[_BUSY] = time.monotonic() if busy else 0.0

    @property
    def is_ready(self) -> bool:
        """Whether the models are loaded."""
        return self._cells[_READY] > 0

    @property
    def is_busy(self) -> bool:
        """Whether a job is running; the time limit watches over that, not the silence limit."""
        return self._cells[_BUSY] > 0

    @property
    def busy_seconds(self) -> float:
        """How long the running job or fit request has been at work; 0 where there is none."""
        since = self._cells[_BUSY]
        return time.monotonic() - since if since else 0.0

    @property
    def last_sign(self) -> float:
        """When the process last polled or became ready."""
        return max(self._cells[_READY], self._cells[_POLLED])
