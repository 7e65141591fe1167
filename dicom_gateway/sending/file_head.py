"""The beginning of a DICOM file as most are: file meta information, and the UIDs of its data set (PS3.10 7.1).

Two general parses took as long as sending an image did. What is out of the ordinary is left to the general parser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from pydicom.uid import UID, ImplicitVRLittleEndian

_HEAD_BYTES = 16 << 10
_META_AT = 132
_META_GROUP = 0x0002
_SOP_CLASS, _SOP_INSTANCE = (0x0008, 0x0016), (0x0008, 0x0018)
_META_SOP_CLASS, _META_SOP_INSTANCE, _META_SYNTAX = (0x0002, 0x0002), (0x0002, 0x0003), (0x0002, 0x0010)
_TAG = Struct("<HH")
_EXPLICIT_SHORT, _EXPLICIT_LONG, _IMPLICIT = Struct("<2sH"), Struct("<2s2xL"), Struct("<L")
_LONG_VRS = frozenset({b"OB", b"OW", b"UN", b"UT", b"UC", b"UR"})
_SHORT_VRS = frozenset(
    {b"AE", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"PN", b"SH", b"ST", b"TM", b"UI", b"UL", b"US"}
)

Tag = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a file says of itself; the ``meta`` UIDs are those of its file meta information."""

    meta_sop_class_uid: str
    meta_sop_instance_uid: str
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    data_set_at: int
    size_bytes: int

    @property
    def is_consistent(self) -> bool:
        """Whether both say the same, and the data set's length is even."""
        says = (self.meta_sop_class_uid, self.meta_sop_instance_uid)
        return says == (self.sop_class_uid, self.sop_instance_uid) and (self.size_bytes - self.data_set_at) % 2 == 0


def read_head(path: Path) -> FileHead | None:
    """Read the beginning of a file; None where it is no such file, or not as most are. OSError."""
    with path.open("rb", buffering=0) as file:
        head = file.read(_HEAD_BYTES)
        size = file.seek(0, 2)
    if head[128:132] != b"DICM":
        return None
    meta: dict[Tag, str] = {}
    try:
        at = _take(head, _META_AT, meta, is_explicit=True, until=(_META_GROUP + 1, 0))
        syntax = UID(meta[_META_SYNTAX])
        if not syntax.is_transfer_syntax or not syntax.is_little_endian or syntax.is_deflated:
            return None
        data_set: dict[Tag, str] = {}
        _take(head, at, data_set, is_explicit=syntax != ImplicitVRLittleEndian, until=(0x0008, 0x0019))
        return FileHead(
            meta[_META_SOP_CLASS],
            meta[_META_SOP_INSTANCE],
            str(syntax),
            data_set[_SOP_CLASS],
            data_set[_SOP_INSTANCE],
            at,
            size,
        )
    except (KeyError, _Unusual):
        return None


class _Unusual(Exception):
    """The head holds something that this walk does not step over."""


def _take(head: bytes, at: int, found: dict[Tag, str], *, is_explicit: bool, until: Tag) -> int:
    """Take the values of UIDs before a tag, and return where what follows begins."""
    last: Tag = (0, 0)
    while at + 12 <= len(head):
        tag: Tag = _TAG.unpack_from(head, at)
        if tag >= until:
            return at
        length, begin = _length(head, at + _TAG.size, is_explicit=is_explicit)
        if tag <= last or begin + length > len(head):
            raise _Unusual
        if tag in (_SOP_CLASS, _SOP_INSTANCE, _META_SOP_CLASS, _META_SOP_INSTANCE, _META_SYNTAX):
            found[tag] = head[begin : begin + length].decode("ascii", errors="replace").rstrip(" \0")
        last, at = tag, begin + length
    raise _Unusual


def _length(head: bytes, at: int, *, is_explicit: bool) -> tuple[int, int]:
    """Return the length of a value, and where it begins; sequences and undefined lengths are unusual here."""
    if not is_explicit:
        (length,) = _IMPLICIT.unpack_from(head, at)
        return length, at + _IMPLICIT.size
    vr, length = _EXPLICIT_SHORT.unpack_from(head, at)
    if vr in _SHORT_VRS:
        return length, at + _EXPLICIT_SHORT.size
    if vr not in _LONG_VRS:
        raise _Unusual
    _, length = _EXPLICIT_LONG.unpack_from(head, at)
    return length, at + _EXPLICIT_LONG.size
