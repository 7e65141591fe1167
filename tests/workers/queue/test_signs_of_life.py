"""What a supervisor sees of the jobs in its child's hands, through memory that both share."""

from __future__ import annotations

import pytest

from workers.device_turns import Step
from workers.queue import signs_of_life
from workers.queue.signs_of_life import SignsOfLife


class Clock:
    """A monotonic clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_the_wait_for_the_device_does_not_count_as_time_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, signs = Clock(), SignsOfLife()
    monkeypatch.setattr(signs_of_life, "time", clock)
    with signs.at_work(7) as place:
        clock.now += 50
        for step, seconds in ((Step.READING, 2), (Step.WAITING, 1000), (Step.COMPUTING, 3), (Step.FINISHING, 4)):
            place.mark(step)
            clock.now += seconds
        (occupant,) = signs.occupants
    assert (occupant.job, occupant.step, occupant.seconds) == (7, Step.FINISHING, 9)
    assert not signs.is_busy


def test_two_jobs_are_seen_side_by_side_and_a_place_is_free_again_after_a_fault() -> None:
    signs = SignsOfLife()
    for _ in range(3):
        with signs.at_work(5) as one, signs.at_work(None):
            one.mark(Step.READING)
            seen = {(occupant.job, occupant.step) for occupant in signs.occupants}
        assert seen == {(5, Step.READING), (None, Step.WAITING)}
        with pytest.raises(ZeroDivisionError), signs.at_work(3):
            raise ZeroDivisionError
    assert signs.occupants == ()
