"""The A-ASSOCIATE-RQ: read from bytes within bounds, each length checked before it is used (PS3.8 9.3.2, Annex D)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct

from dicom_gateway.protocol.pdus import ROLE_SELECTION, Roles, decode_roles, invalid

_FIXED = Struct(">H2x16s16s32s")
_TITLES = slice(4, 68)
_ITEM = Struct(">BxH")
_APPLICATION_CONTEXT, _CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX, _MAXIMUM_LENGTH = 0x30, 0x40, 0x51
_MAXIMUM_LENGTH_BYTES = 4
_CONTEXT_FIXED_BYTES = 4
_MOST_CONTEXTS = 128  # context ids are the odd numbers of one byte
_MOST_ITEMS = 256
_MOST_SYNTAXES = 256
_MOST_USER_ITEMS = 1024  # roles and extended negotiation, one each for every context, and a few more
_LONGEST_UID_BYTES = 64


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context that a peer proposes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """What a peer asks for; ``maximum_pdu_bytes`` is the longest P-DATA-TF that it takes, 0 for any.

    ``titles`` are the bytes of the AE titles and the reserved field behind them, which an acceptance returns. ``roles``
    are those that it asks for, by SOP class: of two items for one the first.
    """

    protocol_version: int
    called_aet: str
    calling_aet: str
    titles: bytes
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_pdu_bytes: int
    roles: Mapping[str, Roles]


@dataclass(frozen=True, slots=True)
class _UserInformation:
    maximum_pdu_bytes: int
    roles: Mapping[str, Roles]


def decode(body: memoryview) -> AssociationRequest:
    """Read the content of an A-ASSOCIATE-RQ; ProtocolViolation where it is malformed.

    Items that we do not negotiate (extended negotiation, user identity, asynchronous operations) are stepped over:
    without an answer, the standard's defaults hold (PS3.7 D.3.3).
    """
    if len(body) < _FIXED.size:
        raise invalid("the association request is shorter than its fixed fields")
    version, called, calling, _ = _FIXED.unpack_from(body)
    application_context: str | None = None
    contexts: dict[int, ProposedContext] = {}
    user = _UserInformation(0, {})
    for kind, content in _items(body[_FIXED.size :], most=_MOST_ITEMS):
        if kind == _APPLICATION_CONTEXT:
            application_context = _uid(content)
        elif kind == _CONTEXT:
            context = _context(content)
            if context.context_id in contexts:
                raise invalid(f"presentation context {context.context_id} is proposed twice")
            contexts[context.context_id] = context
        elif kind == _USER_INFORMATION:
            user = _user_information(content)
    if application_context is None or not 0 < len(contexts) <= _MOST_CONTEXTS:
        raise invalid("the association request lacks its application context or its presentation contexts")
    return AssociationRequest(
        protocol_version=version,
        called_aet=_title(called),
        calling_aet=_title(calling),
        titles=bytes(body[_TITLES]),
        application_context=application_context,
        contexts=tuple(contexts.values()),
        maximum_pdu_bytes=user.maximum_pdu_bytes,
        roles=user.roles,
    )


def _items(content: memoryview, *, most: int) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each item."""
    at, end, count = 0, len(content), 0
    while at < end:
        if end - at < _ITEM.size:
            raise invalid("an item of the association request is cut off")
        kind, length = _ITEM.unpack_from(content, at)
        at += _ITEM.size
        count += 1
        if at + length > end:
            raise invalid("an item of the association request is longer than what holds it")
        if count > most:
            raise invalid(f"the association request has more than {most} items of a kind")
        yield kind, content[at : at + length]
        at += length


def _context(content: memoryview) -> ProposedContext:
    if len(content) < _CONTEXT_FIXED_BYTES:
        raise invalid("a presentation context is cut off")
    context_id = content[0]
    if context_id % 2 == 0:
        raise invalid(f"the presentation context id {context_id} is not odd")
    abstract_syntaxes: list[str] = []
    transfer_syntaxes: list[str] = []
    for kind, value in _items(content[_CONTEXT_FIXED_BYTES:], most=_MOST_SYNTAXES):
        if kind == _ABSTRACT_SYNTAX:
            abstract_syntaxes.append(_uid(value))
        elif kind == _TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(value))
    if len(abstract_syntaxes) != 1 or not transfer_syntaxes:
        raise invalid(f"presentation context {context_id} needs one abstract syntax and a transfer syntax")
    return ProposedContext(context_id, abstract_syntaxes[0], tuple(transfer_syntaxes))


def _user_information(content: memoryview) -> _UserInformation:
    """Return the maximum length (PS3.8 D.1), 0 where it is not stated, and the roles (PS3.7 D.3.3.4)."""
    maximum_pdu_bytes = 0
    roles: dict[str, Roles] = {}
    for kind, value in _items(content, most=_MOST_USER_ITEMS):
        if kind == _MAXIMUM_LENGTH:
            if len(value) != _MAXIMUM_LENGTH_BYTES:
                raise invalid("the maximum length is not four bytes")
            maximum_pdu_bytes = int.from_bytes(value, "big")
        elif kind == ROLE_SELECTION:
            asked = decode_roles(value)
            roles.setdefault(asked.sop_class_uid, asked)
    return _UserInformation(maximum_pdu_bytes, roles)


def _uid(value: memoryview) -> str:
    # One that is too long or no UID at all matches nothing that we accept, so its context is rejected.
    return bytes(value[: _LONGEST_UID_BYTES + 1]).decode("ascii", errors="replace").rstrip(" \0")


def _title(value: bytes) -> str:
    return value.decode("ascii", errors="replace").strip(" \0")
