"""PDUs and DIMSE messages without end, out of turn, or with lengths that lie (PS3.8 9.3, PS3.7 6.3)."""

from __future__ import annotations

import contextlib
import struct
import time

import pytest

from tests.support.attacked_gateway import AttackedGateway, under_attack
from tests.support.hostile import Hostile, at_once, connections
from tests.support.pdus import (
    ABORT,
    ASSOCIATE_RQ,
    COMMAND,
    CT_IMAGE,
    LAST,
    NO_DATA_SET,
    P_DATA,
    association_request,
    command_set,
    echo_command,
    element,
    fragment,
    p_data,
    pdu,
    store_command,
)

pytestmark = pytest.mark.slow

_UID = "1.2.3.4"
_FOUR_GIGABYTES = 0xFFFFFFFF
_STORE = p_data(fragment(1, COMMAND | LAST, store_command(_UID)))
_ZEROS = bytes(1 << 20)


@pytest.mark.parametrize("established", [False, True], ids=["first PDU", "data"])
def test_pdus_of_four_gigabytes_are_cut_and_cost_no_memory(gateway: AttackedGateway, established: bool) -> None:
    sent: list[int] = []

    def pour(_: int) -> None:
        with Hostile(gateway.port) as hostile:
            if established and not hostile.associate():
                return
            hostile.send(pdu(P_DATA if established else ASSOCIATE_RQ, b"", length=_FOUR_GIGABYTES))
            sent.append(sum(1 for _ in iter(lambda: hostile.send(_ZEROS) and sum(sent) < 400, False)))

    with under_attack(gateway, most_memory_bytes=32 << 20) as peer:
        at_once(8, pour)
        peer.asks(3)
    assert max(sent) < 64, "megabytes that were taken after a header which no PDU may have"


def test_requests_that_drip_are_cut_at_their_deadline(gateway: AttackedGateway) -> None:
    request = association_request()
    with under_attack(gateway) as peer, connections(gateway.port, 40) as slow:
        began = time.monotonic()
        for byte in request[:100]:
            for hostile in slow:
                hostile.send(bytes([byte]))
            if time.monotonic() - began > 8:
                break
        peer.asks(3)
        assert all(hostile.is_closed() for hostile in slow)


def test_data_that_drips_is_cut_at_its_deadline(gateway: AttackedGateway) -> None:
    with under_attack(gateway) as peer, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Hostile(gateway.port)) for _ in range(12)]
        dripping = [hostile for hostile in slow if hostile.associate()]
        for hostile in dripping:
            hostile.send(_STORE + struct.pack(">BBL", P_DATA, 0, 100_000))
        began = time.monotonic()
        while time.monotonic() - began < 4:
            for hostile in dripping:
                hostile.send(b"\0")
            peer.asks(1)
        assert dripping
        assert all(hostile.is_closed() for hostile in dripping)


def test_an_image_without_end_takes_neither_memory_nor_disk(gateway: AttackedGateway) -> None:
    """The largest instance that this gateway takes has 32 MB; each sender sends twice as much."""
    largest, senders, on_disk = 32 << 20, 3, [0]
    piece = p_data(fragment(1, 0, bytes(100_000))) * 20

    def pour(_: int) -> None:
        with Hostile(gateway.port) as hostile:
            if not hostile.associate() or not hostile.send(_STORE):
                return
            for _ in range(2 * largest // len(piece)):
                if not hostile.send(piece):
                    return
                on_disk.append(gateway.incoming_bytes())

    with under_attack(gateway) as peer:
        at_once(senders, pour)
        peer.asks(1)
    assert max(on_disk) <= senders * (largest + len(piece))


def test_an_image_that_is_too_large_is_refused_and_the_association_goes_on(gateway: AttackedGateway) -> None:
    with under_attack(gateway), Hostile(gateway.port) as hostile:
        assert hostile.associate()
        assert hostile.store(_UID, bytes(40 << 20)) == 0xA700
        hostile.send(p_data(fragment(3, COMMAND | LAST, echo_command())))
        assert hostile.status() == 0


_ENDLESS = {
    "commands": p_data(fragment(1, COMMAND, bytes(8000))),
    "empty PDUs": p_data() * 2000,
    "empty fragments": p_data(fragment(1, 0, b"") * 500),
    "empty command fragments": p_data(fragment(1, COMMAND, b"") * 500),
    "echoes": p_data(fragment(3, COMMAND | LAST, echo_command())) * 100,
    "requests to store": _STORE * 100,
    "operations that we do not offer": p_data(
        fragment(1, COMMAND | LAST, command_set(element(0x0100, b"\x20\0"), element(0x0110, b"\1\0")))
    )
    * 100,
}


@pytest.mark.parametrize("piece", _ENDLESS.values(), ids=_ENDLESS)
def test_what_has_no_end_costs_nobody_else_anything(gateway: AttackedGateway, piece: bytes) -> None:
    """Eight senders repeat themselves for two seconds and read no answer."""

    def pour(_: int) -> None:
        with Hostile(gateway.port) as hostile:
            if not hostile.associate():
                return
            hostile.socket.settimeout(2)
            ends = time.monotonic() + 2
            while time.monotonic() < ends and hostile.send(piece):
                pass

    lines = len(gateway.log_lines())
    with under_attack(gateway) as peer:
        at_once(8, pour)
        peer.asks(3)
    assert len(gateway.log_lines()) - lines < 150


_COMMAND_FIELDS = (element(0x0002, CT_IMAGE.encode() + b"\0"), element(0x0110, b"\7\0"), element(0x0800, b"\1\0"))
_BROKEN = {
    "noise": p_data(fragment(1, COMMAND | LAST, b"\xff" * 200)),
    "an empty command": p_data(fragment(1, COMMAND | LAST, b"")),
    "a command without a command field": p_data(fragment(1, COMMAND | LAST, command_set(*_COMMAND_FIELDS))),
    "a command field of one byte": p_data(
        fragment(1, COMMAND | LAST, command_set(*_COMMAND_FIELDS, element(0x0100, b"\1")))
    ),
    "a value longer than the command": p_data(
        fragment(1, COMMAND | LAST, command_set(element(0x0002, b"1.2", length=0xFFFFFFF0)))
    ),
    "a group length that lies": p_data(fragment(1, COMMAND | LAST, element(0, b"\xff\xff\xff\x7f") + b"\0" * 8)),
    "a sequence in a command": p_data(fragment(1, COMMAND | LAST, b"\x08\x00\x15\x11\xff\xff\xff\xff" * 5000)),
    "a fragment without a header": p_data(fragment(1, 0, b"", length=0)),
    "a fragment of one byte": p_data(struct.pack(">LB", 1, 1)),
    "a fragment longer than its PDU": p_data(fragment(1, COMMAND | LAST, b"x" * 10, length=0xFFFFFFF0)),
    "a fragment cut off in its length": p_data(b"\0\0"),
    "a context that was not accepted": p_data(fragment(99, COMMAND | LAST, echo_command())),
    "a context that cannot be": p_data(fragment(2, COMMAND | LAST, echo_command())),
    "data without a command": p_data(fragment(1, LAST, b"x" * 100)),
    "data for a C-ECHO": p_data(fragment(3, COMMAND | LAST, echo_command()), fragment(3, LAST, b"x" * 100)),
    "data of another context": _STORE + p_data(fragment(3, LAST, b"x" * 100)),
    "a command amid data": _STORE + p_data(fragment(1, 0, b"x" * 100)) + _STORE + p_data(fragment(1, LAST, b"")),
    "an answer that nobody asked for": p_data(
        fragment(1, COMMAND | LAST, command_set(element(0x0100, b"\1\x80"), element(0x0120, b"\7\0")))
    ),
}


def test_a_broken_message_is_answered_with_an_error_or_ends_that_association_alone(gateway: AttackedGateway) -> None:
    taken: list[str] = []
    with under_attack(gateway), Hostile(gateway.port) as honest:
        assert honest.associate()
        for name, content in _BROKEN.items():
            with Hostile(gateway.port) as hostile:
                assert hostile.associate()
                hostile.send(content + pdu(ABORT, bytes(4)))
                while (answer := hostile.read_pdu()) is not None:
                    if answer[0] == P_DATA and _stored(answer[1]):
                        taken.append(name)
        honest.send(p_data(fragment(3, COMMAND | LAST, echo_command())))
        assert honest.status() == 0
    assert taken == []


def _stored(answer: bytes) -> bool:
    is_store = struct.pack("<HHLH", 0, 0x0100, 2, 0x8001) in answer
    return is_store and struct.pack("<HHLH", 0, 0x0900, 2, 0) in answer


def test_a_request_to_store_without_a_data_set_is_refused(gateway: AttackedGateway) -> None:
    fields = store_command(_UID).replace(element(0x0800, b"\1\0"), element(0x0800, struct.pack("<H", NO_DATA_SET)))
    with under_attack(gateway), Hostile(gateway.port) as hostile:
        assert hostile.associate()
        hostile.send(p_data(fragment(1, COMMAND | LAST, fields)))
        assert hostile.status() != 0
