"""What a peer answers to our A-ASSOCIATE-RQ: an acceptance or a rejection, read within bounds (PS3.8 9.3.3, 9.3.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import Struct

from dicom_gateway.protocol.pdus import ROLE_SELECTION, ContextResult, Roles, decode_roles, invalid

_FIXED_BYTES = 68  # version, reserved bytes and titles (Table 9-17)
_REJECTION_BYTES = 4
_CONTEXT_FIXED_BYTES = 4
_ITEM = Struct(">BxH")
_CONTEXT, _USER_INFORMATION, _MAXIMUM_LENGTH = 0x21, 0x50, 0x51
_TRANSFER_SYNTAX = 0x40
_MAXIMUM_LENGTH_BYTES = 4
_MOST_ITEMS = 1024
_REASONS: Mapping[tuple[int, int], str] = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""Sources and reasons of a rejection in words (PS3.8 Table 9-21)."""
_FOR_GOOD = 1


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What was agreed on: transfer syntaxes by the ids of the accepted contexts, and the longest P-DATA-TF, 0 for any.

    A transfer syntax is empty where the peer does not name one. ``roles`` are those that we have, by SOP class, where
    the peer answers what we asked for.
    """

    transfer_syntaxes: Mapping[int, str]
    maximum_pdu_bytes: int
    roles: Mapping[str, Roles] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a peer will not have the association; one that ``is_permanent`` will not be had later either."""

    is_permanent: bool
    reason: str


def decode_acceptance(body: memoryview) -> Acceptance:
    """Read the content of an A-ASSOCIATE-AC; ProtocolViolation where it is malformed."""
    accepted: dict[int, str] = {}
    roles: dict[str, Roles] = {}
    maximum_pdu_bytes = 0
    for kind, content in _items(body[_FIXED_BYTES:]):
        if kind == _CONTEXT:
            if len(content) < _CONTEXT_FIXED_BYTES:
                raise invalid("the answer to a presentation context is cut off")
            if content[2] == ContextResult.ACCEPTANCE:
                accepted[content[0]] = _transfer_syntax(content[_CONTEXT_FIXED_BYTES:])
            else:
                accepted.pop(content[0], None)
        elif kind == _USER_INFORMATION:
            for inner, value in _items(content):
                if inner == _MAXIMUM_LENGTH and len(value) == _MAXIMUM_LENGTH_BYTES:
                    maximum_pdu_bytes = int.from_bytes(value, "big")
                elif inner == ROLE_SELECTION:
                    answered = decode_roles(value)
                    roles[answered.sop_class_uid] = answered
    return Acceptance(accepted, maximum_pdu_bytes, roles)


def decode_rejection(body: memoryview) -> Rejection:
    """Read the content of an A-ASSOCIATE-RJ; ProtocolViolation where it is malformed."""
    if len(body) != _REJECTION_BYTES:
        raise invalid("a rejection is not four bytes")
    _, result, source, reason = body
    return Rejection(result == _FOR_GOOD, _REASONS.get((source, reason), f"source {source}, reason {reason}"))


def _transfer_syntax(content: memoryview) -> str:
    names = [bytes(value) for kind, value in _items(content) if kind == _TRANSFER_SYNTAX]
    return names[0].decode("ascii", errors="replace").rstrip(" \0") if names else ""


def _items(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each item."""
    at, end, count = 0, len(content), 0
    while at < end:
        if end - at < _ITEM.size:
            raise invalid("an item of the answer is cut off")
        kind, length = _ITEM.unpack_from(content, at)
        at += _ITEM.size
        count += 1
        if at + length > end or count > _MOST_ITEMS:
            raise invalid("an item of the answer is longer than what holds it, or there are too many")
        yield kind, content[at : at + length]
        at += length
