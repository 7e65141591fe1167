from __future__ import annotations

import threading
import time

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
