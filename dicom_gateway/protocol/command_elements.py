"""Elements of a command set: Implicit VR Little Endian, read within bounds, and written (PS3.7 6.3)."""

from __future__ import annotations

from struct import Struct

from dicom_gateway.errors import ProtocolViolation
from dicom_gateway.protocol.pdus import AbortReason
from storage.uids import is_uid

_ELEMENT = Struct("<HHL")
_US = Struct("<H")
_GROUP_LENGTH = 0x0000


def read_elements(content: bytes) -> dict[int, bytes]:
    """Return the values of group 0000 by element number; ProtocolViolation where they are malformed."""
    found: dict[int, bytes] = {}
    at, end = 0, len(content)
    while at < end:
        if end - at < _ELEMENT.size:
            raise malformed("a command set is cut off")
        group, element, length = _ELEMENT.unpack_from(content, at)
        at += _ELEMENT.size
        if group != 0 or length > end - at or element in found:
            raise malformed("a command set holds another group, a length beyond its end, or an element twice")
        found[element] = content[at : at + length]
        at += length
    return found


def number_of(elements: dict[int, bytes], element: int) -> int | None:
    """Return a number (VR US), None where the element is missing; ProtocolViolation where it is none."""
    value = elements.get(element)
    if value is None:
        return None
    if len(value) != _US.size:
        raise malformed(f"the command element (0000,{element:04X}) is not two bytes")
    return int(_US.unpack(value)[0])


def uid_of(elements: dict[int, bytes], element: int) -> str:
    """Return a UID or another text as it stands, without its padding; empty where it is missing."""
    return elements.get(element, b"").decode("ascii", errors="replace").rstrip(" \0")


def tags_of(elements: dict[int, bytes], element: int) -> tuple[int, ...]:
    """Return the tags of the attribute identifier list (VR AT: group and element of each, PS3.5 6.2)."""
    value = elements.get(element, b"")
    if len(value) % 4:
        raise malformed("the attribute identifier list is not a list of tags")
    halves = [int(number) for (number,) in _US.iter_unpack(value)]
    return tuple(group << 16 | element for group, element in zip(halves[::2], halves[1::2], strict=True))


def with_length(body: bytes) -> bytes:
    """Return a command set: its group length and its elements."""
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + len(body).to_bytes(4, "little") + body


def number_element(element: int, value: int) -> bytes:
    """Encode a number (VR US)."""
    return _ELEMENT.pack(0, element, _US.size) + _US.pack(value)


def uid_element(element: int, uid: str) -> bytes:
    """Encode a UID; nothing for what is none."""
    if not is_uid(uid):
        return b""
    value = uid.encode("ascii") + b"\0" * (len(uid) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value


def text_element(element: int, text: str) -> bytes:
    """Encode text; characters beyond ASCII become question marks."""
    value = text.encode("ascii", errors="replace") + b" " * (len(text) % 2)
    return _ELEMENT.pack(0, element, len(value)) + value


def malformed(message: str) -> ProtocolViolation:
    """Return the error for a command set that cannot be read."""
    return ProtocolViolation(message, code="invalid_command", abort_reason=AbortReason.INVALID_PARAMETER)
