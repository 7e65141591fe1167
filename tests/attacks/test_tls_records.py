"""Peers with a good certificate that drip, hold back or forge TLS records (RFC 8446 5)."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable

import pytest

from tests.support.attacked_gateway import under_attack
from tests.support.attacked_tls import Secured
from tests.support.hostile import at_once
from tests.support.pdus import (
    ASSOCIATE_AC,
    COMMAND,
    LAST,
    P_DATA,
    association_request,
    fragment,
    p_data,
    pdu,
    store_command,
)
from tests.support.tls_records import RecordPeer

pytestmark = pytest.mark.slow

_PEERS = 32
_DRIP_SECONDS = 0.2


def _no_hello(peer: RecordPeer) -> bytes:
    return peer.hello()


def _no_finish(peer: RecordPeer) -> bytes:
    peer.hostile.send(peer.hello())
    return peer.finished()


def _no_request(peer: RecordPeer) -> bytes:
    peer.shake_hands()
    return peer.record(association_request())


def _no_data(peer: RecordPeer) -> bytes:
    _associate(peer)
    peer.hostile.send(peer.record(p_data(fragment(1, COMMAND | LAST, store_command("1.2.3")))))
    return peer.record(p_data(fragment(1, 0, bytes(12_000))))


def _associate(peer: RecordPeer) -> None:
    peer.shake_hands()
    if peer.ask(association_request())[:1] != bytes([ASSOCIATE_AC]):
        raise ConnectionRefusedError("no association")


_STAGES = {"hello": _no_hello, "finished": _no_finish, "request": _no_request, "data": _no_data}


@pytest.mark.parametrize("stage", _STAGES.values(), ids=_STAGES)
def test_peers_that_stop_in_the_middle_of_a_record_keep_nobody_out(
    secured: Secured, stage: Callable[[RecordPeer], bytes]
) -> None:
    tls = secured.client()
    with under_attack(secured.gateway, known=secured.known()) as peer, contextlib.ExitStack() as stack:
        for _ in range(_PEERS):
            stopping = stack.enter_context(RecordPeer(secured.port, tls))
            with contextlib.suppress(ConnectionError):  # too many of one address are turned away
                record = stage(stopping)
                stopping.hostile.send(record[: len(record) // 2])
        peer.asks(20)


@pytest.mark.parametrize("stage", _STAGES.values(), ids=_STAGES)
def test_peers_that_drip_a_record_are_cut_at_the_deadline_of_silent_ones(
    secured: Secured, stage: Callable[[RecordPeer], bytes]
) -> None:
    tls = secured.client()
    pause = threading.Event()

    def drip(_: int) -> None:
        with RecordPeer(secured.port, tls) as slow:
            slow.hostile.socket.settimeout(60)
            for byte in stage(slow)[:150]:  # half a minute
                if not slow.hostile.send(bytes([byte])):
                    break
                pause.wait(_DRIP_SECONDS)
            else:
                pytest.fail("nobody minded")

    with under_attack(secured.gateway, known=secured.known()):
        at_once(8, drip)


def test_data_in_records_of_one_byte_each_is_no_burden_to_others(secured: Secured) -> None:
    tls = secured.client()

    def crumble(_: int) -> None:
        with RecordPeer(secured.port, tls) as crumbling:
            _associate(crumbling)
            content = p_data(fragment(1, COMMAND | LAST, store_command("1.2.3"))) + pdu(P_DATA, b"", length=60_000)
            content += struct.pack(">LBB", 59_996, 1, 0) + bytes(40_000)
            for at in range(0, len(content), 500):
                records = b"".join(crumbling.record(content[at + i : at + i + 1]) for i in range(500))
                if not crumbling.hostile.send(records):
                    return

    with under_attack(secured.gateway, known=secured.known()):
        at_once(4, crumble)


def test_records_that_do_not_decrypt_end_the_connection_at_once(secured: Secured) -> None:
    tls = secured.client()
    with under_attack(secured.gateway, known=secured.known()):
        for stage in (_no_request, _no_data):
            with RecordPeer(secured.port, tls) as forging:
                record = bytearray(stage(forging))
                record[-1] ^= 1
                forging.hostile.send(bytes(record))
                assert forging.hostile.is_closed()
