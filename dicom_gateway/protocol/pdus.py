"""PDUs of the upper layer protocol as bytes: what we send, and the pieces of what we get (PS3.8 9.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from dicom_gateway.errors import ProtocolViolation

HEADER = Struct(">BxL")
"""PDU type, a reserved byte, and the length of what follows (PS3.8 9.3.1)."""
FRAGMENT_HEAD_BYTES = 12
"""What precedes a fragment in a P-DATA-TF of its own: the PDU's header, and the item's length, context and control."""
_ITEM = Struct(">BxH")
_FRAGMENT = Struct(">LBB")
_FRAGMENT_OVERHEAD_BYTES = 2  # context id and message control header count in the length of an item
_PROTOCOL_VERSION = 0x0001
_APPLICATION_CONTEXT, _CONTEXT, _CONTEXT_ANSWER = 0x10, 0x20, 0x21
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX, _USER_INFORMATION = 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x55
ROLE_SELECTION = 0x54
"""Type of the item of a role selection (PS3.7 D.3.3.4)."""
_ROLE = Struct(">H")
_ROLE_BYTES = 2
_SERVICE_USER, _SERVICE_PROVIDER = 0, 2
_LONGEST_UID_BYTES = 64
DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
"""The application context name of DICOM (PS3.7 A.2.1)."""


class PduType(IntEnum):
    """Types of PDUs (PS3.8 9.3.1)."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA_TF = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


PDU_TYPES: Mapping[int, PduType] = {kind.value: kind for kind in PduType}
"""The types by their numbers: to look one up costs a tenth of what the enumeration takes for it."""


class AbortReason(IntEnum):
    """Reasons of an A-ABORT by the service provider (PS3.8 Table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class ContextResult(IntEnum):
    """Answers to a proposed presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ContextAnswer:
    """What we answer to one proposed presentation context; the syntax means something where it is accepted."""

    context_id: int
    result: ContextResult
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class ContextProposal:
    """A presentation context that we propose: one SOP class in one transfer syntax; its id is odd, below 256."""

    context_id: int
    abstract_syntax: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class Roles:
    """Which roles the requester of an association has for a SOP class: as it asks, or as it is answered.

    Without such an item it is the SCU and no SCP (PS3.7 D.3.3.4).
    """

    sop_class_uid: str
    is_scu: bool
    is_scp: bool


@dataclass(frozen=True, slots=True)
class Identification:
    """What we say of ourselves when an association is negotiated."""

    maximum_pdu_bytes: int
    implementation_class_uid: str
    implementation_version: str


class Fragment(NamedTuple):
    """A presentation data value: a piece of a command set or a data set (PS3.8 9.3.5.1, Annex E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    content: memoryview


def fragments(body: memoryview) -> Iterator[Fragment]:
    """Yield the fragments of a P-DATA-TF; ProtocolViolation where an item does not fit into it."""
    at, end = 0, len(body)
    if not end:
        raise invalid("a P-DATA-TF holds no presentation data value")
    while at < end:
        if end - at < _FRAGMENT.size:
            raise invalid("a presentation data value is cut off")
        length, context_id, control = _FRAGMENT.unpack_from(body, at)
        next_at = at + _FRAGMENT.size + length - _FRAGMENT_OVERHEAD_BYTES
        if length < _FRAGMENT_OVERHEAD_BYTES or next_at > end:
            raise invalid("the length of a presentation data value is not the one of its PDU")
        yield Fragment(context_id, bool(control & 0b01), bool(control & 0b10), body[at + _FRAGMENT.size : next_at])
        at = next_at


def command_pdus(context_id: int, command: bytes, *, maximum_pdu_bytes: int) -> bytes:
    """Encode a command set as P-DATA-TFs no longer than the peer takes; 0 means any length."""
    return _message_pdus(context_id, command, control=0b01, maximum_pdu_bytes=maximum_pdu_bytes)


def data_set_pdus(context_id: int, data_set: bytes, *, maximum_pdu_bytes: int) -> bytes:
    """Encode a data set that is not empty as P-DATA-TFs no longer than the peer takes; 0 means any length."""
    return _message_pdus(context_id, data_set, control=0b00, maximum_pdu_bytes=maximum_pdu_bytes)


def _message_pdus(context_id: int, content: bytes, *, control: int, maximum_pdu_bytes: int) -> bytes:
    # The length of a P-DATA-TF counts the item's own four bytes of length, too (PS3.8 Annex D.1).
    room = maximum_pdu_bytes - _FRAGMENT.size if maximum_pdu_bytes else len(content)
    if room < 1:
        raise invalid("the peer's maximum length leaves no room for an answer")
    encoded = bytearray()
    for at in range(0, len(content), room):
        piece = content[at : at + room]
        header = control | 0b10 if at + room >= len(content) else control
        encoded += HEADER.pack(PduType.P_DATA_TF, _FRAGMENT.size + len(piece))
        encoded += _FRAGMENT.pack(len(piece) + _FRAGMENT_OVERHEAD_BYTES, context_id, header)
        encoded += piece
    return bytes(encoded)


def fragment_head(context_id: int, size: int, *, is_last: bool) -> bytes:
    """Return what precedes a data set's fragment of ``size`` bytes: a P-DATA-TF of its own, and its one item."""
    control = 0b10 if is_last else 0b00
    return HEADER.pack(PduType.P_DATA_TF, _FRAGMENT.size + size) + _FRAGMENT.pack(
        size + _FRAGMENT_OVERHEAD_BYTES, context_id, control
    )


def associate_request(
    called_aet: str,
    calling_aet: str,
    contexts: Iterable[ContextProposal],
    ours: Identification,
    *,
    roles: Iterable[Roles] = (),
) -> bytes:
    """Encode an A-ASSOCIATE-RQ; titles are at most 16 characters (9.3.2)."""
    titles = called_aet.encode("ascii").ljust(16) + calling_aet.encode("ascii").ljust(16) + bytes(32)
    proposed = b"".join(
        _item(
            _CONTEXT,
            bytes((context.context_id, 0, 0, 0))
            + _text_item(_ABSTRACT_SYNTAX, context.abstract_syntax)
            + _text_item(_TRANSFER_SYNTAX, context.transfer_syntax_uid),
        )
        for context in contexts
    )
    body = _associate_body(titles, DICOM_APPLICATION_CONTEXT, proposed, _user_information(ours, roles))
    return HEADER.pack(PduType.ASSOCIATE_RQ, len(body)) + body


def associate_accept(
    titles: bytes,
    application_context: str,
    answers: Iterable[ContextAnswer],
    ours: Identification,
    *,
    roles: Iterable[Roles] = (),
) -> bytes:
    """Encode an A-ASSOCIATE-AC; ``titles`` are the 64 bytes of the request that go back as they came (9.3.3)."""
    contexts = b"".join(
        _item(
            _CONTEXT_ANSWER,
            bytes((answer.context_id, 0, answer.result, 0)) + _text_item(_TRANSFER_SYNTAX, answer.transfer_syntax_uid),
        )
        for answer in answers
    )
    body = _associate_body(titles, application_context, contexts, _user_information(ours, roles))
    return HEADER.pack(PduType.ASSOCIATE_AC, len(body)) + body


def decode_roles(content: memoryview) -> Roles:
    """Read the content of a role selection item; ProtocolViolation where its UID does not fit into it.

    A UID that is none matches no SOP class.
    """
    if len(content) < _ROLE.size + _ROLE_BYTES:
        raise invalid("a role selection is cut off")
    (length,) = _ROLE.unpack_from(content)
    if len(content) != _ROLE.size + length + _ROLE_BYTES:
        raise invalid("a role selection is not as long as its SOP class has it")
    uid = bytes(content[_ROLE.size : _ROLE.size + min(length, _LONGEST_UID_BYTES + 1)])
    scu, scp = content[-_ROLE_BYTES:]
    return Roles(uid.decode("ascii", errors="replace").rstrip(" \0"), scu == 1, scp == 1)


def associate_reject(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
    return HEADER.pack(PduType.ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))


def release_request() -> bytes:
    """Encode an A-RELEASE-RQ (PS3.8 9.3.6)."""
    return HEADER.pack(PduType.RELEASE_RQ, 4) + bytes(4)


def release_response() -> bytes:
    """Encode an A-RELEASE-RP (PS3.8 9.3.7)."""
    return HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)


def abort(reason: int) -> bytes:
    """Encode an A-ABORT by the service provider (PS3.8 9.3.8)."""
    return HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, _SERVICE_PROVIDER, reason))


def abort_by_user() -> bytes:
    """Encode an A-ABORT by the service user, which gives no reason (PS3.8 9.3.8)."""
    return HEADER.pack(PduType.ABORT, 4) + bytes((0, 0, _SERVICE_USER, 0))


def invalid(message: str) -> ProtocolViolation:
    """Return the error for a PDU whose content breaks its own structure."""
    return ProtocolViolation(message, code="invalid_pdu", abort_reason=AbortReason.INVALID_PARAMETER)


def _user_information(ours: Identification, roles: Iterable[Roles]) -> bytes:
    """Encode what the user items say; those of roles stand between ours, for items come by their type (D.3.3.4)."""
    return (
        _item(_MAXIMUM_LENGTH, ours.maximum_pdu_bytes.to_bytes(4, "big"))
        + _text_item(_IMPLEMENTATION_CLASS, ours.implementation_class_uid)
        + b"".join(map(_role_item, roles))
        + _text_item(_IMPLEMENTATION_VERSION, ours.implementation_version)
    )


def _role_item(roles: Roles) -> bytes:
    uid = roles.sop_class_uid.encode("ascii")
    return _item(ROLE_SELECTION, _ROLE.pack(len(uid)) + uid + bytes((roles.is_scu, roles.is_scp)))


def _associate_body(titles: bytes, application_context: str, contexts: bytes, user_information: bytes) -> bytes:
    return (
        _PROTOCOL_VERSION.to_bytes(2, "big")
        + bytes(2)
        + titles
        + _text_item(_APPLICATION_CONTEXT, application_context)
        + contexts
        + _item(_USER_INFORMATION, user_information)
    )


def _item(kind: int, content: bytes) -> bytes:
    return _ITEM.pack(kind, len(content)) + content


def _text_item(kind: int, text: str) -> bytes:
    return _item(kind, text.encode("ascii"))
