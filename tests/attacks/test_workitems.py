"""Peers that may ask for workitems, and misuse it (PS3.4 CC.2, PS3.7 9.1.2, 10.1.5)."""

from __future__ import annotations

import struct

import pytest

from dicom_gateway.protocol import commands, pdus
from storage.attributes import Attributes, element
from storage.database import utc_now
from storage.workitems import workitems
from storage.workitems.attributes import Tag
from tests.support.attacked_gateway import AttackedGateway, under_attack
from tests.support.gateways import until
from tests.support.hostile import Hostile, at_once
from tests.support.pdus import COMMAND, LAST, association_request, command_set, context, explicit, fragment, p_data
from tests.support.pdus import element as command_element
from tests.support.workitems import PULL, PUSH, WORKSTATION, admit_workstation

pytestmark = pytest.mark.slow

_N_CREATE = 0x0140
_REQUEST = association_request((context(1, PUSH), context(3, PULL)), calling_aet=WORKSTATION)
_FIND_ALL = pdus.command_pdus(3, commands.find_request(7, PULL), maximum_pdu_bytes=0) + pdus.data_set_pdus(
    3, explicit(0x00741204, b"LO", b""), maximum_pdu_bytes=0
)
_MANY_ELEMENTS = b"".join(explicit(0x00091001 + number, b"LO", b"") for number in range(0xEFFF)) * 2
_FRAGMENT_BYTES = 1 << 16


@pytest.fixture(scope="module")
def admitting(gateway: AttackedGateway) -> AttackedGateway:
    """Return the gateway with an entry that allows workitems, and with two hundred of them."""
    admit_workstation(gateway.database)
    with gateway.database.write() as session:
        for number in range(200):
            workitems.create(session, f"1.2.3.{number}", _workitem(number), actor="ORDERS", now=utc_now())

    def is_admitted() -> bool:
        with Hostile(gateway.port) as workstation:
            return workstation.associate(_REQUEST)

    until(is_admitted, "the entry of the workstation")
    return gateway


def test_workstations_that_read_no_answer_hold_nobody_up(admitting: AttackedGateway) -> None:
    with under_attack(admitting) as peer:
        opened = [Hostile(admitting.port) for _ in range(12)]
        asking = [workstation for workstation in opened if workstation.associate(_REQUEST)]
        assert asking
        for workstation in asking:
            workstation.send(_FIND_ALL)
        peer.asks(5)
        for workstation in opened:
            workstation.socket.close()


def test_data_sets_that_are_no_workitem_cost_little_and_delay_nobody(admitting: AttackedGateway) -> None:
    statuses: list[int | None] = []

    def create(number: int) -> None:
        with Hostile(admitting.port) as workstation:
            if workstation.associate(_REQUEST):
                content = (_MANY_ELEMENTS[: 1 << 20], bytes(64 << 20), b"\xff" * 5000)[number % 3]
                statuses.append(_created(workstation, content))

    with under_attack(admitting) as peer:
        at_once(9, create)
        peer.asks(3)
    assert set(statuses) <= {0x0106, 0x0213, 0xC309, None}
    assert 0x0213 in statuses


def _created(workstation: Hostile, content: bytes) -> int | None:
    """Send an N-CREATE request with any bytes, and return the status of the answer; None where it was cut."""
    numbers = ((0x0100, _N_CREATE), (0x0110, 7), (0x0800, 1))
    uid = PUSH.encode() + b"\0" * (len(PUSH) % 2)
    command = command_set(
        command_element(0x0002, uid),
        *(command_element(number, struct.pack("<H", value)) for number, value in numbers),
    )
    workstation.send(p_data(fragment(1, COMMAND | LAST, command)))
    for at in range(0, len(content), _FRAGMENT_BYTES):
        last = LAST if at + _FRAGMENT_BYTES >= len(content) else 0
        if not workstation.send(p_data(fragment(1, last, content[at : at + _FRAGMENT_BYTES]))):
            return None
    return workstation.status()


def _workitem(number: int) -> Attributes:
    said = {
        Tag.ProcedureStepState: element("CS", "SCHEDULED"),
        Tag.ScheduledProcedureStepPriority: element("CS", "LOW"),
        Tag.ProcedureStepLabel: element("LO", f"Read {number}"),
        Tag.ScheduledProcedureStepStartDateTime: element("DT", "2026"),
        Tag.InputReadinessState: element("CS", "READY"),
    }
    return Attributes({tag.value: value for tag, value in said.items()})
