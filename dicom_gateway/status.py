"""DIMSE statuses of C-STORE: the ones oncue answers with, and what a peer's answer means for a retry."""

from __future__ import annotations

from enum import Enum, IntEnum

_SERVICE_CLASS_BITS = 0xFF00
_RANGE_BITS = 0xF000
_OUT_OF_RESOURCES = 0xA700
_WARNING = 0xB000
DUPLICATE = 0x0111
"""The peer holds an instance of this UID already (PS3.7 C.5.6), for example where its first answer was lost."""

# Answers that still mean "stored" (PS3.7 Annex C): attribute notes, and a duplicate, for one UID names one content.
_STORED_WITH_REMARK = frozenset({0x0001, 0x0107, 0x0116, DUPLICATE})
# PS3.7 C.5: faults of the peer's moment, not of the object.
_MOMENTARY = frozenset({0x0110, 0x0210, 0x0213})
# PS3.7 Annex C and PS3.4 Table B.2-1, in words; the rest of a range means what its first status means.
_MEANINGS = {
    0x0001: "stored, with attributes left out",
    0x0105: "it knows no such attribute",
    0x0106: "a value of an attribute is not valid",
    0x0107: "stored, with a remark on attributes",
    0x0110: "it failed while it processed the object",
    DUPLICATE: "it holds an object of this SOP Instance UID already",
    0x0112: "it knows no such object",
    0x0116: "stored, with a value out of range",
    0x0117: "the SOP Instance UID breaks the rules",
    0x0118: "it knows no such SOP class",
    0x0120: "an attribute is missing",
    0x0122: "it does not store this SOP class",
    0x0124: "it does not allow us to store",
    0x0210: "a message of this number came twice",
    0x0211: "it does not know the operation",
    0x0212: "an argument is of the wrong type",
    0x0213: "it is out of resources",
}
_RANGES = {
    0xA700: "it is out of resources",
    0xA900: "the data set does not match its SOP class or the request's UIDs",
    0xB000: "stored, with values changed or a remark",
    0xC000: "it cannot understand the object",
}


class Status(IntEnum):
    """Statuses that the listener answers with (PS3.4 Tables B.2-1, C.4-2 and C.4-3, PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    OUT_OF_RESOURCES = 0xA700
    CANNOT_COUNT_MATCHES = 0xA701
    CANNOT_PERFORM_SUB_OPERATIONS = 0xA702
    MOVE_DESTINATION_UNKNOWN = 0xA801
    MISMATCH = 0xA900
    SOME_SUB_OPERATIONS_FAILED = 0xB000
    CANCELED = 0xFE00
    CANNOT_UNDERSTAND = 0xC000
    TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122  # of STOW-RS alone (PS3.18 Table I.2-2)


class PeerAnswer(Enum):
    """What a sender concludes from a peer's answer."""

    STORED = "stored"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


def answer_of(status: int) -> PeerAnswer:
    """Say what the status of a C-STORE response means: stored (warnings included), worth a retry, or final."""
    if status == Status.SUCCESS or status in _STORED_WITH_REMARK or status & _RANGE_BITS == _WARNING:
        return PeerAnswer.STORED
    if status & _SERVICE_CLASS_BITS == _OUT_OF_RESOURCES or status in _MOMENTARY:
        return PeerAnswer.TRANSIENT
    return PeerAnswer.PERMANENT


def written(status: int) -> str:
    """Write a status as the standard does, for records and messages: ``0xA700``."""
    return f"0x{status:04X}"


def meaning(status: int) -> str:
    """Say in words what a peer means by the status of a C-STORE response (PS3.7 Annex C, PS3.4 Table B.2-1)."""
    if status in _MEANINGS:
        return _MEANINGS[status]
    narrow, wide = status & _SERVICE_CLASS_BITS, status & _RANGE_BITS
    return _RANGES.get(narrow) or _RANGES.get(wide, "a status that the standard does not name")
