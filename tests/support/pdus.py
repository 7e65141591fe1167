"""PDUs and DIMSE messages written byte by byte (PS3.8 9.3, PS3.7 E), so that each part can be a lie.

``length`` overrides the length field that a part says of itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 0b01, 0b10
"""Bits of a fragment's message control header (PS3.8 E.2)."""

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
NO_DATA_SET = 0x0101
_STORE_RQ, _ECHO_RQ = 0x0001, 0x0030


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return one PDU (PS3.8 9.3.1)."""
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


def item(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """Return one item or sub-item of an association PDU; a body beyond 65,535 bytes needs a ``length``."""
    return struct.pack(">BBH", kind, 0, len(body) if length is None else length) + body


def context(context_id: int, abstract_syntax: str, transfer_syntaxes: Iterable[str] = (EXPLICIT,)) -> bytes:
    """Return a proposed presentation context (PS3.8 9.3.2.2)."""
    syntaxes = b"".join(item(0x40, uid.encode()) for uid in transfer_syntaxes)
    return item(0x20, struct.pack(">BBBB", context_id, 0, 0, 0) + item(0x30, abstract_syntax.encode()) + syntaxes)


def user_information(*more: bytes, maximum_length: int = 131_072) -> bytes:
    """Return the user information item with a maximum length and our implementation, and ``more`` sub-items."""
    body = item(0x51, struct.pack(">L", maximum_length)) + item(0x52, b"1.2.3.4") + b"".join(more)
    return item(0x50, body, length=min(len(body), 0xFFFF))


STORE_AND_ECHO = (context(1, CT_IMAGE), context(3, VERIFICATION, (IMPLICIT,)))


def association_request(
    contexts: Iterable[bytes] = STORE_AND_ECHO,
    *,
    calling_aet: str = "HOSTILE",
    called_aet: str = "ONCUE",
    user: bytes | None = None,
    protocol_version: int = 1,
) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    return pdu(
        ASSOCIATE_RQ,
        associate_head(calling_aet, called_aet, protocol_version)
        + item(0x10, APPLICATION_CONTEXT.encode())
        + b"".join(contexts)
        + (user_information() if user is None else user),
    )


def associate_head(calling_aet: str = "HOSTILE", called_aet: str = "ONCUE", protocol_version: int = 1) -> bytes:
    """Return the fixed fields of an A-ASSOCIATE-RQ, which its items follow."""
    titles = called_aet.encode().ljust(16)[:16] + calling_aet.encode().ljust(16)[:16]
    return struct.pack(">HH", protocol_version, 0) + titles + bytes(32)


def fragment(context_id: int, control: int, content: bytes, *, length: int | None = None) -> bytes:
    """Return one presentation data value (PS3.8 9.3.5.1)."""
    said = len(content) + 2 if length is None else length
    return struct.pack(">LBB", said, context_id, control) + content


def p_data(*fragments: bytes, length: int | None = None) -> bytes:
    """Return a P-DATA-TF of some fragments."""
    return pdu(P_DATA, b"".join(fragments), length=length)


def element(number: int, value: bytes, *, length: int | None = None) -> bytes:
    """Return one element of a command set: group 0000, implicit VR little endian."""
    return struct.pack("<HHL", 0x0000, number, len(value) if length is None else length) + value


def command_set(*elements: bytes) -> bytes:
    """Return a command set with its group length (PS3.7 6.3.1)."""
    body = b"".join(elements)
    return element(0x0000, struct.pack("<L", len(body))) + body


def store_command(sop_instance_uid: str, *, sop_class_uid: str = CT_IMAGE, message_id: int = 7) -> bytes:
    """Return the command set of a C-STORE request (PS3.7 9.3.1.1)."""
    return command_set(
        element(0x0002, _even(sop_class_uid)),
        element(0x0100, struct.pack("<H", _STORE_RQ)),
        element(0x0110, struct.pack("<H", message_id)),
        element(0x0700, struct.pack("<H", 0)),
        element(0x0800, struct.pack("<H", 0x0001)),
        element(0x1000, _even(sop_instance_uid)),
    )


def echo_command(*, message_id: int = 1) -> bytes:
    """Return the command set of a C-ECHO request (PS3.7 9.3.5.1)."""
    return command_set(
        element(0x0002, _even(VERIFICATION)),
        element(0x0100, struct.pack("<H", _ECHO_RQ)),
        element(0x0110, struct.pack("<H", message_id)),
        element(0x0800, struct.pack("<H", NO_DATA_SET)),
    )


def explicit(tag: int, vr: bytes, value: bytes, *, length: int | None = None) -> bytes:
    """Return one element of a data set in explicit VR little endian (PS3.5 7.1.2)."""
    said = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
        return head + struct.pack("<HL", 0, said) + value
    return head + struct.pack("<H", said) + value


def _even(uid: str) -> bytes:
    value = uid.encode()
    return value + b"\0" * (len(value) % 2)
