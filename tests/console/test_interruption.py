from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from console.supervision.interruption import Interruption

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Interruption.armed()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_ends_in_order_and_the_second_at_once(interruption: Interruption) -> None:
    signal.raise_signal(signal.SIGTERM)
    assert interruption.stop.wait(10)
    assert not interruption.hurry.is_set()
    signal.raise_signal(signal.SIGINT)
    assert interruption.hurry.wait(10)


def test_a_signal_in_the_middle_of_a_wait_does_not_hang_the_main_thread(interruption: Interruption) -> None:
    # What the main thread holds for a moment in each wait, held while the signal comes.
    held = vars(interruption.stop)["_cond"]
    with held:
        signal.raise_signal(signal.SIGTERM)
    assert interruption.stop.wait(10)
