"""The beginning of a DICOM file, read from a stream that cannot go back (PS3.10 7.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Protocol

from dicom_gateway.contexts import storage_sop_classes, transfer_syntaxes
from dicom_gateway.errors import UndecodableObject, UnsupportedObject, UnsupportedTransferSyntax
from dicom_gateway.receiving.store_request import StoreRequest
from storage.uids import is_uid

_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"
_META_GROUP = 0x0002
_MOST_META_BYTES = 64 << 10
"""A head with every optional element takes a few hundred bytes; private information is the one that may be longer."""
_SOP_CLASS, _SOP_INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010
_NAMES = {
    _SOP_CLASS: "Media Storage SOP Class UID",
    _SOP_INSTANCE: "Media Storage SOP Instance UID",
    _SYNTAX: "Transfer Syntax UID",
}
_HEADER = Struct("<HH2sH")
_LONG_LENGTH = Struct("<L")
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


class Readable(Protocol):
    """What a file is read from: an open file, a part of a request, anything that goes one way."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Part10Head:
    """What the file meta information says, and the first bytes of the data set, which were read to find its end."""

    request: StoreRequest
    begun: bytes


def read_head(stream: Readable) -> Part10Head:
    """Read preamble, prefix and file meta information; the preamble is dropped, whatever it holds.

    UndecodableObject where it is no such file or says too little of itself; UnsupportedObject where the listener would
    not take its SOP class or transfer syntax, a deflated one among them.
    """
    if _exactly(stream, _PREAMBLE_BYTES + len(_PREFIX))[_PREAMBLE_BYTES:] != _PREFIX:
        raise UndecodableObject("no DICOM file: DICM does not stand behind the first 128 bytes")
    found: dict[int, str] = {}
    left = _MOST_META_BYTES
    while True:
        header = _exactly(stream, _HEADER.size)
        group, element, vr, length = _HEADER.unpack(header)
        if group != _META_GROUP:
            return Part10Head(_request(found), header)
        if vr in _LONG_VRS:
            (length,) = _LONG_LENGTH.unpack(_exactly(stream, _LONG_LENGTH.size))
        left -= length + _HEADER.size
        if left < 0:
            raise UndecodableObject(f"the file meta information is longer than {_MOST_META_BYTES >> 10} kilobytes")
        value = _exactly(stream, length)
        if element in _NAMES:
            found[element] = value.decode("ascii", errors="replace").rstrip(" \0")


def _request(found: dict[int, str]) -> StoreRequest:
    for element, name in _NAMES.items():
        if not is_uid(found.get(element, "")):
            raise UndecodableObject(f"the {name} of the file meta information is missing, or is none")
    request = StoreRequest(found[_SOP_CLASS], found[_SOP_INSTANCE], found[_SYNTAX])
    if request.transfer_syntax_uid not in _taken_syntaxes():
        raise UnsupportedTransferSyntax(f"the transfer syntax {request.transfer_syntax_uid} is not one that is taken")
    if request.sop_class_uid not in _taken_classes():
        raise UnsupportedObject(f"the SOP class {request.sop_class_uid} is not one that is stored")
    return request


def _exactly(stream: Readable, count: int) -> bytes:
    """Read so many bytes; UndecodableObject where the stream ends before."""
    content = stream.read(count)
    while len(content) < count:
        piece = stream.read(count - len(content))
        if not piece:
            raise UndecodableObject("the file ends inside its file meta information, or right behind it")
        content += piece
    return content


@lru_cache(maxsize=1)
def _taken_syntaxes() -> frozenset[str]:
    return frozenset(transfer_syntaxes())


@lru_cache(maxsize=1)
def _taken_classes() -> frozenset[str]:
    return storage_sop_classes()
