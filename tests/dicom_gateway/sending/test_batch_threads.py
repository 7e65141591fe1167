"""Threads that stay and are used again."""

from __future__ import annotations

import threading

import pytest

from dicom_gateway.sending.batch_threads import BatchThreads
from tests.support.gateways import until

_NAME = "batch-threads-of-this-test"


def _running() -> int:
    return sum(thread.name == _NAME for thread in threading.enumerate())


@pytest.fixture
def threads() -> BatchThreads:
    return BatchThreads(_NAME)


def test_work_that_hangs_holds_up_no_other(threads: BatchThreads) -> None:
    released, done = threading.Event(), threading.Event()
    threads.run(lambda: _wait(released))
    threads.run(done.set)
    assert done.wait(10)
    released.set()
    threads.close()
    until(lambda: _running() == 0, "the threads have ended")


def test_a_thread_is_used_again(threads: BatchThreads) -> None:
    by: list[int] = []
    for number in range(1, 6):
        threads.run(lambda: by.append(threading.get_ident()))
        until(lambda number=number: len(by) == number and threads._free == 1, "it is free again")  # type: ignore[misc]  # a lambda's bound defaults have no types
    assert len(set(by)) == 1
    threads.close()
    until(lambda: _running() == 0, "the threads have ended")


def _wait(event: threading.Event) -> None:
    event.wait(30)
