"""DIMSE statuses of C-STORE: the ones oncue answers with, and what a peer's answer means for a retry."""

from __future__ import annotations

from enum import Enum, IntEnum

_SERVICE_CLASS_BITS = 0xFF00
_OUT_OF_RESOURCES = 0xA700
_WARNING = 0xB000
# General warnings that still mean "stored" (PS3.7 C.4): duplicates and attribute notes.
_STORED_WITH_REMARK = frozenset({0x0001, 0x0107, 0x0116})
# PS3.7 C.5: faults of the peer's moment, not of the object.
_MOMENTARY = frozenset({0x0110, 0x0210, 0x0213})


class Status(IntEnum):
    """Statuses that the listener answers with (PS3.4 Table B.2-1 and PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class PeerAnswer(Enum):
    """What a sender concludes from a peer's answer."""

    STORED = "stored"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


def answer_of(status: int) -> PeerAnswer:
    """Say what the status of a C-STORE response means: stored (warnings included), worth a retry, or final."""
    if status == Status.SUCCESS or status in _STORED_WITH_REMARK or status & 0xF000 == _WARNING:
        return PeerAnswer.STORED
    if status & _SERVICE_CLASS_BITS == _OUT_OF_RESOURCES or status in _MOMENTARY:
        return PeerAnswer.TRANSIENT
    return PeerAnswer.PERMANENT


def written(status: int) -> str:
    """Write a status as the standard does, for records and messages: ``0xA700``."""
    return f"0x{status:04X}"
