"""Whose turn it is at the device: the jobs of one process share it, so that one is read while another computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum

LOOK_SECONDS = 1.0
"""How often a job that waits looks up: whether it still is wanted, and whether it is better off elsewhere."""


class Step(IntEnum):
    """How far a job is; the time limit counts every step but WAITING."""

    WAITING = 0
    READING = 1
    COMPUTING = 2
    FINISHING = 3


class Turn:
    """One job's way through a process: it reads, waits for the device, computes, and hands the device on.

    What ``on_wait`` raises ends the wait; ``on_step`` is told of every step.
    """

    def __init__(self, turns: DeviceTurns, rank: int, *, alone: bool, on_step: Callable[[Step], None]) -> None:
        self.rank = rank
        self.alone = alone
        self.step = Step.WAITING
        self.size = 0
        self.on_wait: Callable[[], None] = _nothing
        self._on_step = on_step
        self._turns = turns

    def reserve(self, size: int) -> None:
        """Wait until there is room for a volume of so many bytes beside those of the other jobs."""
        self._turns.advance(self, Step.READING, lambda: self._turns.has_room(self, size))

    def take(self) -> None:
        """Wait until the device is this job's."""
        self._turns.advance(self, Step.COMPUTING, lambda: self._turns.is_next(self))

    def hand_on(self) -> None:
        """Let the next job have the device."""
        self._turns.advance(self, Step.FINISHING, lambda: True)

    def mark(self, step: Step) -> None:
        """Note how far the job is."""
        self.step = step
        self._on_step(step)


class DeviceTurns:
    """The jobs at work in one process, in the order in which they came in, and the one that has the device.

    A job gets the free device before any that came later, unless the later one is more urgent and read first. Volumes
    of several jobs lie in memory together only up to ``room_bytes``. A job that came in ``alone`` has no other beside
    it.
    """

    def __init__(self, *, room_bytes: int = 0) -> None:
        self._room_bytes = room_bytes
        self._changed = threading.Condition()
        self._door: list[Turn] = []
        self._inside: list[Turn] = []

    @contextmanager
    def enter(
        self, rank: int = 0, *, alone: bool = False, on_step: Callable[[Step], None] | None = None
    ) -> Iterator[Turn]:
        """Let a job in as soon as those before it allow; ``rank`` is 0 for the most urgent lane. It leaves at the end.

        Nobody overtakes a job that has to wait until it is alone.
        """
        turn = Turn(self, rank, alone=alone, on_step=on_step or _nothing)
        with self._changed:
            self._door.append(turn)
            try:
                self._changed.wait_for(lambda: self._may_enter(turn))
                self._inside.append(turn)
                turn.mark(Step.READING)
            finally:
                self._door.remove(turn)
                self._changed.notify_all()
        try:
            yield turn
        finally:
            with self._changed:
                self._inside.remove(turn)
                self._changed.notify_all()

    @property
    def is_occupied(self) -> bool:
        """Whether a job is at work."""
        return bool(self._inside)

    def pause(self) -> None:
        """Wait until something changes, at most LOOK_SECONDS."""
        with self._changed:
            self._changed.wait(LOOK_SECONDS)

    def advance(self, turn: Turn, step: Step, ready: Callable[[], bool]) -> None:
        """Bring a job to its next step as soon as it is ready for it; only Turn calls this."""
        while not self._advanced(turn, step, ready):
            turn.on_wait()

    def is_next(self, turn: Turn) -> bool:
        """Say whether the device is free and nobody who is being read goes before a job."""
        before = self._inside[: self._inside.index(turn)]
        return not any(other.step is Step.COMPUTING for other in self._inside if other is not turn) and not any(
            other.step is Step.READING and other.rank <= turn.rank for other in before
        )

    def has_room(self, turn: Turn, size: int) -> bool:
        """Say whether a volume fits beside those of the others, and take note of its size."""
        taken = sum(other.size for other in self._inside if other is not turn)
        if taken and taken + size > self._room_bytes:
            return False
        turn.size = size
        return True

    def _advanced(self, turn: Turn, step: Step, ready: Callable[[], bool]) -> bool:
        with self._changed:
            if not ready():
                if turn.step is not Step.WAITING:
                    # One that waits for room holds nobody up: whoever has the room may need the device.
                    turn.mark(Step.WAITING)
                    self._changed.notify_all()
                if not self._changed.wait_for(ready, timeout=LOOK_SECONDS):
                    return False
            turn.mark(step)
            self._changed.notify_all()
            return True

    def _may_enter(self, turn: Turn) -> bool:
        if self._door[0] is not turn:
            return False
        return not self._inside or not (turn.alone or any(other.alone for other in self._inside))


def _nothing(*_: object) -> None:
    """Do nothing."""
