from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from dicom_gateway.receiving.bounded_log import BoundedLog
from dicom_gateway.receiving.half_open import HalfOpen, HalfOpenLimits

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(8)]
        for pair in made:
            for end in pair:
                stack.enter_context(end)
                end.settimeout(0.05)
        yield made


def closed(pairs: list[Pair]) -> list[int]:
    """Return which connections the peer finds closed."""
    found: list[int] = []
    for number, (_, peer) in enumerate(pairs):
        with contextlib.suppress(TimeoutError):
            assert peer.recv(1) == b""
            found.append(number)
    return found


def half_open(maximum: int, per_address: int) -> HalfOpen:
    return HalfOpen(HalfOpenLimits(maximum, per_address), BoundedLog())


def test_the_oldest_of_an_address_gives_way_to_its_next(pairs: list[Pair]) -> None:
    waiting = half_open(10, 2)
    for number, (ours, _) in enumerate(pairs[:4]):
        waiting.add(ours, "10.0.0.1" if number < 3 else "10.0.0.2", is_known=True)
    assert closed(pairs) == [0]


def test_strangers_leave_half_of_the_places_to_addresses_of_peers(pairs: list[Pair]) -> None:
    waiting = half_open(4, 8)
    waiting.add(pairs[0][0], "10.0.0.1", is_known=True)
    for ours, _ in pairs[1:5]:
        waiting.add(ours, "192.0.2.1", is_known=False)
    assert closed(pairs) == [1, 2]
    waiting.add(pairs[5][0], "10.0.0.2", is_known=True)
    waiting.add(pairs[6][0], "10.0.0.3", is_known=True)
    assert closed(pairs) == [1, 2, 3]


def test_what_is_over_goes_before_anybody_who_has_yet_to_speak(pairs: list[Pair]) -> None:
    waiting = half_open(8, 2)
    waiting.add(pairs[0][0], "10.0.0.1", is_known=True)
    waiting.add(pairs[1][0], "10.0.0.1", is_known=True, is_over=True)
    waiting.add(pairs[2][0], "10.0.0.1", is_known=True)
    assert closed(pairs) == [1]
    waiting.add(pairs[3][0], "10.0.0.1", is_known=True, is_over=True)
    assert closed(pairs) == [1, 3]


def test_what_has_its_association_counts_no_more(pairs: list[Pair]) -> None:
    waiting = half_open(8, 1)
    waiting.add(pairs[0][0], "10.0.0.1", is_known=True)
    waiting.remove(pairs[0][0])
    waiting.add(pairs[1][0], "10.0.0.1", is_known=True)
    assert closed(pairs) == []
    waiting.close_all()
    assert closed(pairs) == [1]
