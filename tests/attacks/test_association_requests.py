"""A-ASSOCIATE-RQ PDUs that are too large, contradict themselves or lie about their lengths (PS3.8 9.3.2)."""

from __future__ import annotations

import contextlib
import struct

import pytest

from tests.support.attacked_gateway import AttackedGateway, under_attack
from tests.support.hostile import Hostile, at_once, connections
from tests.support.pdus import (
    ABORT,
    APPLICATION_CONTEXT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    COMMAND,
    CT_IMAGE,
    EXPLICIT,
    IMPLICIT,
    LAST,
    P_DATA,
    RELEASE_RQ,
    STORE_AND_ECHO,
    VERIFICATION,
    associate_head,
    association_request,
    context,
    echo_command,
    fragment,
    item,
    p_data,
    pdu,
    user_information,
)

pytestmark = pytest.mark.slow

_APPLICATION = item(0x10, APPLICATION_CONTEXT.encode())
_LARGEST_REQUEST = 1 << 20
_ANSWERS = {ASSOCIATE_AC, ASSOCIATE_RJ, ABORT, None}


def _filled(part: bytes, *, size: int = _LARGEST_REQUEST) -> bytes:
    """Return an A-ASSOCIATE-RQ of nearly ``size`` bytes, filled with one part again and again."""
    room = size - len(associate_head()) - len(_APPLICATION) - len(user_information())
    return pdu(ASSOCIATE_RQ, associate_head() + _APPLICATION + part * (room // len(part)) + user_information())


_LARGE_REQUESTS = {
    "contexts": _filled(context(1, CT_IMAGE)),
    "transfer syntaxes": _filled(context(1, CT_IMAGE, [EXPLICIT] * 2000)),
    "empty items": _filled(item(0x20, b"")),
    "unknown items": _filled(item(0x99, b"")),
    "user items": _filled(item(0x50, item(0x54, b"\0\0\0\0") * 8000)),
    "zeros": pdu(ASSOCIATE_RQ, associate_head() + bytes(_LARGEST_REQUEST - 68)),
}


@pytest.mark.parametrize("request_bytes", _LARGE_REQUESTS.values(), ids=_LARGE_REQUESTS)
def test_requests_of_a_megabyte_cost_little_memory_and_nobody_waits(
    gateway: AttackedGateway, request_bytes: bytes
) -> None:
    def ask(_: int) -> None:
        with Hostile(gateway.port) as hostile:
            hostile.send(request_bytes)
            hostile.read_pdu()

    with under_attack(gateway) as peer:
        at_once(32, ask)
        peer.asks(3)


def _with_length(request: bytes, at: int, length: int) -> bytes:
    return request[:at] + struct.pack(">H", length) + request[at + 2 :]


_REQUEST = association_request()
_CONTEXT_AT = _REQUEST.index(STORE_AND_ECHO[0])
_BROKEN_REQUESTS = {
    "no items": pdu(ASSOCIATE_RQ, associate_head()),
    "head alone": pdu(ASSOCIATE_RQ, associate_head()[:30]),
    "empty": pdu(ASSOCIATE_RQ, b""),
    "no application context": pdu(ASSOCIATE_RQ, associate_head() + b"".join(STORE_AND_ECHO) + user_information()),
    "no contexts": association_request(()),
    "no user information": association_request(user=b""),
    "even context ids": association_request([context(2, CT_IMAGE), context(4, VERIFICATION, [IMPLICIT])]),
    "context id zero": association_request([context(0, CT_IMAGE)]),
    "one context twice": association_request([context(1, CT_IMAGE), context(1, VERIFICATION, [IMPLICIT])]),
    "more contexts than there are ids": association_request([context(1, CT_IMAGE)] * 300),
    "no transfer syntax": association_request([context(1, CT_IMAGE, [])]),
    "empty abstract syntax": association_request([context(1, "")]),
    "a UID of 60,000 characters": association_request([context(1, "1." * 30_000)]),
    "UIDs that are none": association_request([context(1, "../../etc/passwd", ["\x00\xff", "a b"])]),
    "item longer than the PDU": _with_length(_REQUEST, _CONTEXT_AT + 2, 0xFFFF),
    "item shorter than its content": _with_length(_REQUEST, _CONTEXT_AT + 2, 1),
    "sub-item longer than its item": _REQUEST.replace(item(0x30, CT_IMAGE.encode()), b"\x30\0\xff\xff1.2", 1),
    "cut off inside an item": pdu(ASSOCIATE_RQ, _REQUEST[6:-9]),
    "titles of zeros": association_request(called_aet="\0" * 16, calling_aet="\0" * 16),
    "titles of control characters": association_request(called_aet="ONCUE", calling_aet="\r\n\x1b[31mROOT"),
    "protocol version 0": association_request(protocol_version=0),
    "role selection that lies": association_request(
        user=user_information(item(0x54, struct.pack(">H", 0xFFFF) + b"1.2" + b"\x01\x01"))
    ),
    "user identity that lies": association_request(
        user=user_information(item(0x58, b"\x02\x01" + struct.pack(">H", 0xFFFF) + b"root"))
    ),
    "extended negotiation that lies": association_request(
        user=user_information(item(0x56, struct.pack(">H", 9000) + b"1.2"))
    ),
    "maximum length of 3 bytes": association_request(user=item(0x50, item(0x51, b"\0\0\1"))),
}


def test_requests_that_break_the_rules_are_answered_or_cut(gateway: AttackedGateway) -> None:
    answers: dict[str, int | None] = {}
    with under_attack(gateway):
        for name, request_bytes in _BROKEN_REQUESTS.items():
            with Hostile(gateway.port) as hostile:
                hostile.send(request_bytes)
                answers[name] = hostile.read_kind()
    assert {name: kind for name, kind in answers.items() if kind not in _ANSWERS} == {}


@pytest.mark.parametrize("name", ["head alone", "item longer than the PDU", "cut off inside an item"])
def test_a_request_that_cannot_be_read_is_not_accepted(gateway: AttackedGateway, name: str) -> None:
    with Hostile(gateway.port) as hostile:
        assert not hostile.associate(_BROKEN_REQUESTS[name])


@pytest.mark.parametrize("name", ["even context ids", "one context twice"])
def test_a_context_id_that_breaks_the_rules_carries_nothing(gateway: AttackedGateway, name: str) -> None:
    """PS3.8 9.3.2.2: ids are odd, and each is there once."""
    with Hostile(gateway.port) as hostile:
        if hostile.associate(_BROKEN_REQUESTS[name]):
            hostile.send(p_data(fragment(2, COMMAND | LAST, echo_command())))
            assert hostile.status() is None


_AFTERWARDS = {
    "a second request": association_request(),
    "an acceptance": pdu(ASSOCIATE_AC, associate_head() + _APPLICATION + user_information()),
    "a rejection": pdu(ASSOCIATE_RJ, b"\0\1\1\1"),
    "an answer to a release": pdu(6, bytes(4)),
    "an unknown PDU": pdu(0x08, bytes(100)),
    "PDU type 0": pdu(0, b""),
}


def test_a_pdu_out_of_turn_ends_that_association_alone(gateway: AttackedGateway) -> None:
    """PS3.8 9.2.3: what the state does not expect is answered with A-ABORT."""
    answers: dict[str, int | None] = {}
    with under_attack(gateway):
        for name, content in _AFTERWARDS.items():
            with Hostile(gateway.port) as hostile:
                assert hostile.associate()
                hostile.send(content)
                answers[name] = hostile.read_kind()
                assert hostile.is_closed()
    assert {name: kind for name, kind in answers.items() if kind not in {ABORT, None}} == {}


def test_a_connection_that_begins_with_another_pdu_is_ended(gateway: AttackedGateway) -> None:
    with under_attack(gateway), contextlib.ExitStack() as stack:
        for first in (RELEASE_RQ, ABORT, P_DATA, ASSOCIATE_AC, 0x09, 0xFF):
            strangers = stack.enter_context(connections(gateway.port, 3, pdu(first, bytes(4))))
            assert all(stranger.is_closed() for stranger in strangers)


@pytest.mark.parametrize("invented", [False, True], ids=["one title", "invented titles"])
def test_a_flood_of_wrong_titles_makes_few_rows_and_few_log_lines(gateway: AttackedGateway, invented: bool) -> None:
    """Where each attempt comes under another title, counting by title alone would be no bound."""

    def ask(number: int) -> None:
        for attempt in range(100):
            title = f"INV{number}-{attempt}" if invented else "PACS"
            with Hostile(gateway.port, address=f"127.0.0.{200 + number}") as hostile:
                assert not hostile.associate(association_request(called_aet=title, calling_aet=title))

    rows, lines = gateway.rows(), len(gateway.log_lines())
    with under_attack(gateway):
        at_once(5, ask)
    assert gateway.rows() - rows < 350
    assert len(gateway.log_lines()) - lines < 150
