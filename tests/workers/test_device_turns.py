"""Several jobs and one device: who comes next, and who waits for whom. Threads as in a worker, ordered by events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from workers.device_turns import DeviceTurns, Step, Turn


class Job:
    """A job in a thread of its own; it notes when it has the device and keeps it until it is let go."""

    def __init__(self, name: str, has_it: list[str]) -> None:
        self.name = name
        self.has_it = has_it
        self.is_in = threading.Event()
        self.has_read = threading.Event()
        self.computes = threading.Event()
        self.let_go = threading.Event()

    def run(self, turns: DeviceTurns, *, rank: int = 1, alone: bool = False, size: int = 0) -> None:
        with turns.enter(rank, alone=alone) as turn:
            self.is_in.set()
            assert self.has_read.wait(30)
            turn.reserve(size)
            turn.take()
            self.has_it.append(self.name)
            self.computes.set()
            assert self.let_go.wait(30)
            turn.hand_on()


def _pair() -> tuple[Job, Job, list[str]]:
    order: list[str] = []
    return Job("first", order), Job("second", order), order


def _end(*jobs: Job) -> None:
    for job in jobs:
        job.has_read.set()
        job.let_go.set()


def _all(futures: list[Future[None]]) -> None:
    for future in futures:
        future.result(30)


def test_the_next_job_is_read_while_the_first_has_the_device_and_then_gets_it() -> None:
    turns, (first, second, order) = DeviceTurns(), _pair()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(first.run, turns)]
        first.has_read.set()
        assert first.computes.wait(30)
        futures.append(pool.submit(second.run, turns))
        assert second.is_in.wait(30)
        second.has_read.set()
        assert not second.computes.is_set()
        _end(first, second)
        _all(futures)
    assert order == ["first", "second"]


@pytest.mark.parametrize(("rank", "expected"), [(1, ["first", "second"]), (0, ["second", "first"])])
def test_only_a_more_urgent_job_overtakes_one_that_is_still_being_read(rank: int, expected: list[str]) -> None:
    turns, (first, second, order) = DeviceTurns(), _pair()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(first.run, turns, rank=1)]
        assert first.is_in.wait(30)
        futures.append(pool.submit(second.run, turns, rank=rank))
        assert second.is_in.wait(30)
        second.has_read.set()
        second.let_go.set()
        if rank == 0:
            assert second.computes.wait(30)
        _end(first, second)
        _all(futures)
    assert order == expected


def test_a_job_that_must_be_alone_waits_for_the_others_and_they_for_it() -> None:
    turns, (first, second, order) = DeviceTurns(), _pair()
    last = Job("last", order)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(first.run, turns)]
        assert first.is_in.wait(30)
        futures.append(pool.submit(second.run, turns, alone=True))
        _until(lambda: len(turns._door) == 1)
        futures.append(pool.submit(last.run, turns))
        _until(lambda: len(turns._door) == 2)
        assert not last.is_in.is_set(), "nobody overtakes it"
        _end(first)
        assert second.is_in.wait(30)
        assert not last.is_in.is_set()
        _end(second, last)
        _all(futures)
    assert order == ["first", "second", "last"]


def test_a_volume_beyond_the_room_is_read_only_when_the_other_is_gone_and_never_blocks_it() -> None:
    turns, (large, small, order) = DeviceTurns(room_bytes=10), _pair()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(large.run, turns, size=100)]
        assert large.is_in.wait(30)
        futures.append(pool.submit(small.run, turns, rank=0, size=6))
        small.has_read.set()
        assert small.computes.wait(30)
        large.has_read.set()
        _until(lambda: any(turn.step is Step.WAITING for turn in turns._inside))
        assert not large.computes.is_set()
        _end(small, large)
        _all(futures)
    assert order == ["second", "first"]


def test_what_a_look_up_raises_ends_the_wait_and_frees_the_place() -> None:
    turns, (first, _, order) = DeviceTurns(), _pair()

    def lost() -> None:
        raise LookupError

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(first.run, turns)
        first.has_read.set()
        assert first.computes.wait(30)
        with turns.enter(1) as turn:
            turn.on_wait = lost
            with pytest.raises(LookupError):
                turn.take()
        _end(first)
        future.result(30)
    assert not turns.is_occupied
    assert order == ["first"]


def test_the_supervisor_is_told_of_each_step() -> None:
    steps: list[Step] = []
    with DeviceTurns().enter(1, on_step=steps.append) as turn:
        turn.take()
        _twice(turn)
    assert steps == [Step.READING, Step.COMPUTING, Step.FINISHING, Step.FINISHING]


def _twice(turn: Turn) -> None:
    turn.hand_on()
    turn.hand_on()


def _until(condition: Callable[[], bool]) -> None:
    woken = threading.Event()
    for _ in range(3000):
        if condition():
            return
        woken.wait(0.01)
    raise AssertionError("not reached")
