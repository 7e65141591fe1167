"""Peers that may retrieve, and misuse it: no answer, wrong answers, no end (PS3.4 C.4.2, C.4.3, PS3.7 9.1.3)."""

from __future__ import annotations

import struct

import pytest

from storage import peers
from storage.database import utc_now
from storage.peers import PeerEntry, Service
from tests.support.attacked_gateway import AttackedGateway, under_attack
from tests.support.conversing_peer import GET_RQ, RESPONSE, STATUS, STORE_RQ, role
from tests.support.gateways import until
from tests.support.hostile import Hostile, at_once
from tests.support.pdus import (
    COMMAND,
    CT_IMAGE,
    LAST,
    NO_DATA_SET,
    P_DATA,
    association_request,
    command_set,
    context,
    element,
    explicit,
    fragment,
    p_data,
    user_information,
)
from tests.support.senders import ct_image, store

pytestmark = pytest.mark.slow

_STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_STUDY = str(ct_image("retrieved").StudyInstanceUID)
_REQUEST = association_request(
    (context(1, _STUDY_ROOT_GET), context(3, CT_IMAGE)),
    calling_aet="VIEWER",
    user=user_information(role(CT_IMAGE, scu=0, scp=1)),
)


def _number(tag: int, value: int) -> bytes:
    return element(tag, struct.pack("<H", value))


def _even(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


_COMMAND = command_set(
    element(0x0002, _even(_STUDY_ROOT_GET)), _number(0x0100, GET_RQ), _number(0x0110, 7), _number(0x0800, 1)
)
_IDENTIFIER = explicit(0x00080052, b"CS", b"STUDY ") + explicit(0x0020000D, b"UI", _even(_STUDY))
_GET = p_data(fragment(1, COMMAND | LAST, _COMMAND)) + p_data(fragment(1, LAST, _IDENTIFIER))


def _answer(*elements: bytes, context_id: int = 3) -> bytes:
    return p_data(fragment(context_id, COMMAND | LAST, command_set(*elements)))


_STORED = (_number(0x0100, STORE_RQ | RESPONSE), _number(0x0120, 1), _number(0x0800, NO_DATA_SET))
_ANSWERS = (
    _answer(*_STORED[:1], _number(0x0120, 4711), _STORED[2], _number(STATUS, 0)),
    _answer(*_STORED),
    _answer(*_STORED, _number(STATUS, 0), context_id=1),
    _answer(*_STORED[:2], _number(0x0800, 1), _number(STATUS, 0)),
    _answer(_number(0x0100, 0x8FFF), *_STORED[1:], _number(STATUS, 0)),
    _answer(*_STORED, _number(STATUS, 0)) * 2,
    _GET,
)
"""Answers to the first image that are none: another message, no status, another context, a data set, twice, ..."""


@pytest.fixture(scope="module")
def viewed(gateway: AttackedGateway) -> AttackedGateway:
    """Return the gateway with an entry that allows retrieval, and with a study of images of half a megabyte."""
    with gateway.database.write() as session:
        entry = PeerEntry("viewer", "VIEWER", services=frozenset({Service.RETRIEVAL}))
        peers.add(session, entry, actor="test", now=utc_now())
    assert set(store(gateway.port, *(ct_image("retrieved", number, rows=512) for number in range(8)))) == {0}
    until(lambda: _is_served(gateway), "the entry of the viewer, and the images on record")
    return gateway


def _is_served(gateway: AttackedGateway) -> bool:
    with Hostile(gateway.port) as viewer:
        if not viewer.associate(_REQUEST) or not viewer.send(_GET):
            return False
        # A C-STORE request brings more than the last response of a retrieval of nothing does.
        answer = viewer.read_pdu()
        return answer is not None and struct.pack("<HHLH", 0, 0x0100, 2, STORE_RQ) in answer[1]


def test_viewers_that_answer_no_image_or_read_none_hold_nobody_up(viewed: AttackedGateway) -> None:
    with under_attack(viewed) as peer:
        opened = [Hostile(viewed.port) for _ in range(12)]
        asking = [viewer for viewer in opened if viewer.associate(_REQUEST)]
        assert asking
        for viewer in asking:
            assert viewer.send(_GET)
        for viewer in asking[::2]:
            answer = viewer.read_pdu()
            assert answer is not None
            assert answer[0] == P_DATA
        peer.asks(5)
        for viewer in opened:
            viewer.socket.close()


def test_answers_to_images_that_are_none_end_that_association_alone(viewed: AttackedGateway) -> None:
    closed: list[bool] = []

    def retrieve(number: int) -> None:
        with Hostile(viewed.port) as viewer:
            if viewer.associate(_REQUEST) and viewer.send(_GET):
                viewer.read_pdu()
                viewer.send(_ANSWERS[number % len(_ANSWERS)])
                closed.append(viewer.is_closed())

    with under_attack(viewed) as peer:
        at_once(2 * len(_ANSWERS), retrieve)
        peer.asks(3)
    assert closed
    assert all(closed)
