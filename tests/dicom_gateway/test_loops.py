from __future__ import annotations

import threading
import time
from queue import SimpleQueue

from dicom_gateway.loops import Loop
from storage.errors import DatabaseUnavailable


def test_a_loop_goes_on_after_an_outage_and_after_a_fault() -> None:
    rounds: list[int] = []
    recovered = threading.Event()

    def work() -> bool:
        rounds.append(len(rounds))
        if len(rounds) == 1:
            raise DatabaseUnavailable("down")
        if len(rounds) == 2:
            raise ValueError("a fault of ours")
        recovered.set()
        return False

    loop = Loop("test", work, seconds=0.001)
    loop.start()
    assert recovered.wait(10)
    loop.stop()
    loop.join()


def test_stopping_does_not_wait_for_the_pause_to_end() -> None:
    ran = threading.Event()

    def work() -> bool:
        ran.set()
        return False

    loop = Loop("test", work, seconds=3600)
    loop.start()
    assert ran.wait(10)
    started = time.monotonic()
    loop.stop()
    loop.join()
    assert time.monotonic() - started < 5


def test_a_wake_up_begins_the_next_round_without_the_pause() -> None:
    rounds: SimpleQueue[None] = SimpleQueue()
    loop = Loop("test", lambda: rounds.put(None), seconds=3600)
    loop.start()
    rounds.get(timeout=10)
    loop.wake()
    rounds.get(timeout=10)
    loop.stop()
    loop.join()


def test_a_wake_up_during_a_round_is_followed_by_another() -> None:
    rounds: SimpleQueue[None] = SimpleQueue()
    woken = threading.Event()

    def work() -> None:
        if rounds.empty():
            woken.set()
        rounds.put(None)

    loop = Loop("test", work, seconds=3600, woken=woken)
    loop.start()
    rounds.get(timeout=10)
    rounds.get(timeout=10)
    loop.stop()
    loop.join()


def test_a_round_may_ask_for_the_next_one_sooner_but_not_later() -> None:
    for asked, seconds in ((0.001, 3600), (3600, 0.001)):
        rounds: SimpleQueue[None] = SimpleQueue()

        def work(asked: float = asked, rounds: SimpleQueue[None] = rounds) -> float:
            rounds.put(None)
            return asked

        loop = Loop("test", work, seconds=seconds)
        loop.start()
        rounds.get(timeout=10)
        rounds.get(timeout=10)
        loop.stop()
        loop.join()
