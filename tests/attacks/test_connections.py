"""Peers that connect and then do not do what a DICOM peer does: nothing, half of it, or leave."""

from __future__ import annotations

import contextlib
import struct
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.attacked_gateway import AttackedGateway, attacked_gateway, under_attack
from tests.support.gateways import until
from tests.support.hostile import Hostile, at_once, connections
from tests.support.known_peer import verify
from tests.support.pdus import (
    ABORT,
    ASSOCIATE_RQ,
    COMMAND,
    LAST,
    association_request,
    fragment,
    p_data,
    pdu,
    store_command,
)

pytestmark = pytest.mark.slow

_HALF_HEADERS = {
    "silent": b"",
    "byte": b"\x01",
    "header": struct.pack(">BBL", ASSOCIATE_RQ, 0, 1000),
    "half request": association_request()[:100],
}


@pytest.mark.parametrize("greeting", _HALF_HEADERS.values(), ids=_HALF_HEADERS)
def test_a_flood_of_requests_that_never_end_keeps_no_known_peer_out(gateway: AttackedGateway, greeting: bytes) -> None:
    with under_attack(gateway) as peer, connections(gateway.port, 200, greeting):
        peer.asks(5)


def test_a_flood_from_many_addresses_keeps_no_known_peer_out(gateway: AttackedGateway) -> None:
    with under_attack(gateway) as peer, contextlib.ExitStack() as stack:
        for last in range(30, 60):
            stack.enter_context(connections(gateway.port, 10, b"\x01", address=f"127.0.0.{last}"))
        peer.asks(5)


def test_a_flood_that_goes_on_keeps_no_known_peer_out(gateway: AttackedGateway) -> None:
    """Each connection is given up as soon as it is open, and the next one opened."""

    def connect_again_and_again(number: int) -> None:
        for _ in range(100):
            with Hostile(gateway.port, address=f"127.0.0.{70 + number}") as hostile:
                hostile.send(b"\x01\x00\x00")

    with under_attack(gateway) as peer:
        at_once(4, connect_again_and_again)
        peer.asks(1)


def test_a_connection_that_asks_for_nothing_is_closed_in_time(gateway: AttackedGateway) -> None:
    with under_attack(gateway), Hostile(gateway.port) as silent:
        assert silent.is_closed()


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n", bytes(range(256)) * 8, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ids=["HTTP", "noise", "TLS"],
)
def test_another_protocol_is_turned_away_at_once(gateway: AttackedGateway, greeting: bytes) -> None:
    with under_attack(gateway), connections(gateway.port, 20, greeting) as strangers:
        assert all(stranger.is_closed() for stranger in strangers)


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_thousands_of_health_checks_cost_nothing(gateway: AttackedGateway, how: str) -> None:
    """What a load balancer does every second for years: connect, and leave."""

    def check_health(_: int) -> None:
        for _ in range(500):
            with Hostile(gateway.port) as checker:
                if how == "reset":
                    checker.reset()
                elif how == "half-close":
                    checker.end()

    lines = len(gateway.log_lines())
    with under_attack(gateway, most_memory_bytes=24 << 20):
        at_once(4, check_health)
    assert len(gateway.log_lines()) - lines < 100


def test_idle_associations_of_one_peer_keep_no_other_out(gateway: AttackedGateway) -> None:
    with under_attack(gateway) as peer, contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(Hostile(gateway.port)).send(association_request())
        peer.asks(10)


@pytest.mark.parametrize("stalled", [False, True], ids=["idle", "stalled"])
def test_associations_of_many_peers_in_which_nothing_moves_give_way(gateway: AttackedGateway, stalled: bool) -> None:
    """They may fill every place for a moment; who comes then is let in before long."""
    begun = p_data(fragment(1, COMMAND | LAST, store_command("1.2.3")), fragment(1, 0, bytes(100))) if stalled else b""
    with contextlib.ExitStack() as stack:
        for number in range(40):
            holder = stack.enter_context(Hostile(gateway.port, address=f"127.0.0.{100 + number}"))
            holder.send(association_request(calling_aet=f"IDLE{number}") + begun)

        def is_let_in() -> bool:
            with Hostile(gateway.port, address="127.0.0.1") as newcomer:
                return newcomer.associate(association_request(calling_aet="NEWCOMER"))

        until(is_let_in, "a place for a newcomer")
    until(lambda: gateway.open_associations() == 0, "the end of the associations")


def test_a_peer_that_reads_no_answer_holds_nobody_up(gateway: AttackedGateway) -> None:
    """It asks for one association after another and never takes a byte of what it is sent."""
    with under_attack(gateway) as peer, connections(gateway.port, 32, association_request() * 50):
        peer.asks(5)


def test_requests_that_are_aborted_at_once_leave_nothing(gateway: AttackedGateway) -> None:
    def ask_and_abort(_: int) -> None:
        for _ in range(50):
            with Hostile(gateway.port) as hostile:
                hostile.send(association_request() + pdu(ABORT, bytes(4)))
                hostile.reset()

    with under_attack(gateway):
        at_once(4, ask_and_abort)


def test_a_gateway_out_of_descriptors_comes_back(tmp_path: Path, sqlite_template: Path) -> None:
    """More connections than it may hold descriptors for: it neither dies nor spins, and serves again afterwards."""
    with attacked_gateway(tmp_path / "state", sqlite_template) as gateway:
        most = gateway.process.num_fds() + 12
        gateway.process.rlimit(psutil.RLIMIT_NOFILE, (most, most))
        lines = len(gateway.log_lines())
        with contextlib.ExitStack() as stack:
            for last in range(30, 50):
                stack.enter_context(connections(gateway.port, 8, b"\x01", address=f"127.0.0.{last}"))
            until(lambda: gateway.process.num_fds() >= most, "the last descriptor")
            assert _share_of_a_core(gateway) < 0.5
        until(lambda: _answers(gateway), "an answer")
        assert len(gateway.log_lines()) - lines < 300
        with under_attack(gateway) as peer:
            peer.asks(3)


def _share_of_a_core(gateway: AttackedGateway, *, seconds: float = 2.0) -> float:
    before = sum(gateway.process.cpu_times()[:2])
    threading.Event().wait(seconds)
    return float(sum(gateway.process.cpu_times()[:2]) - before) / seconds


def _answers(gateway: AttackedGateway) -> bool:
    try:
        verify(gateway.port)
    except OSError:
        return False
    return True
