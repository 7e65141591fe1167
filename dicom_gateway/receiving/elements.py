"""Read a few top-level elements of an encoded data set, and see that it is whole, without building anything.

A general parser makes an object of every item of every sequence, so a small hostile data set becomes gigabytes, or
recurses until the stack ends. This walk keeps one counter per open sequence, decodes no value and never recurses:
time grows with the number of elements, memory with the nesting depth, and both are bounded (PS3.5 7.1, 7.5, A.4).
"""

from __future__ import annotations

import struct
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from mmap import mmap

from pydicom.uid import UID

from dicom_gateway.errors import UndecodableObject

Content = bytes | mmap

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_MOST_ELEMENTS = 2_000_000
_DEEPEST = 64
_LONGEST_VALUE = 16_384


@dataclass(slots=True)
class _Walk:
    """Where the walk is. ``open`` holds, for each open sequence or item, its end tag and the syntax outside it."""

    content: Content
    implicit: bool
    order: str
    position: int = 0
    open: list[tuple[int, bool]] = field(default_factory=list)
    in_pixels: bool = False

    def header(self) -> tuple[int, bytes, int]:
        """Read one element's tag, VR (empty where implicit) and length, and step behind them."""
        group, element = struct.unpack_from(f"{self.order}HH", self.content, self.position)
        tag = group << 16 | element
        if self.implicit or group == 0xFFFE:  # noqa: PLR2004 - items and delimiters never have a VR (PS3.5 7.5)
            (length,) = struct.unpack_from(f"{self.order}L", self.content, self.position + 4)
            self.position += 8
            return tag, b"", length
        vr = bytes(self.content[self.position + 4 : self.position + 6])
        if not (vr.isalpha() and vr.isupper()):
            raise UndecodableObject(f"element {tag:08X} has no value representation at byte {self.position}")
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from(f"{self.order}L", self.content, self.position + 8)
            self.position += 12
        else:
            (length,) = struct.unpack_from(f"{self.order}H", self.content, self.position + 6)
            self.position += 8
        return tag, vr, length

    def enter(self, tag: int, vr: bytes) -> None:
        """Go into a sequence, an item or encapsulated pixel data of undefined length."""
        if len(self.open) >= _DEEPEST:
            raise UndecodableObject(f"sequences are nested more than {_DEEPEST} deep")
        self.open.append((_ITEM_END if tag == _ITEM else _SEQUENCE_END, self.implicit))
        if vr == b"UN":
            self.implicit = True  # PS3.5 6.2.2: what UN of undefined length holds is encoded implicitly

    def leave(self, tag: int) -> None:
        """Come out of what was entered last; its own delimiter must say so."""
        if not self.open or self.open[-1][0] != tag:
            raise UndecodableObject(f"a delimiter {tag:08X} closes nothing at byte {self.position - 8}")
        _, self.implicit = self.open.pop()

    def skip(self, length: int) -> None:
        """Step over a value, which must be there in full."""
        if length > len(self.content) - self.position:
            raise UndecodableObject(
                f"the data set ends at byte {len(self.content)}, inside a value of {length} bytes: it is truncated"
            )
        self.position += length


def read_elements(
    content: Content, transfer_syntax_uid: str, wanted: AbstractSet[int], *, start: int = 0
) -> dict[int, bytes]:
    """Return the raw values of the wanted top-level elements of a complete data set that begins at byte ``start``.

    UndecodableObject where an element is cut off, delimiters do not match, a wanted element comes twice, or a bound is
    exceeded. What follows the pixel data need not be well formed: some devices pad there.
    """
    syntax = UID(transfer_syntax_uid)
    walk = _Walk(content, syntax.is_implicit_VR, "<" if syntax.is_little_endian else ">", position=start)
    found: dict[int, bytes] = {}
    past_pixels = False
    for _ in range(_MOST_ELEMENTS):
        if walk.position >= len(content) and not walk.open:
            return found
        try:
            tag, value = _step(walk, wanted)
        except (struct.error, UndecodableObject) as error:
            if past_pixels and not walk.in_pixels:
                return found
            if isinstance(error, UndecodableObject):
                raise
            raise UndecodableObject(f"the data set ends inside an element at byte {walk.position}") from None
        past_pixels = past_pixels or (tag in _PIXEL_DATA and not walk.open)
        if walk.in_pixels and not walk.open:
            past_pixels, walk.in_pixels = True, False
        if value is not None and tag in found:
            raise UndecodableObject(f"element {tag:08X} comes twice")
        if value is not None:
            found[tag] = value
    raise UndecodableObject(f"the data set has more than {_MOST_ELEMENTS} elements")


def _step(walk: _Walk, wanted: AbstractSet[int]) -> tuple[int, bytes | None]:
    """Step over one element and return its tag, and its value where it is wanted at the top level."""
    tag, vr, length = walk.header()
    if tag in (_ITEM_END, _SEQUENCE_END):
        walk.leave(tag)
        return tag, None
    if length == _UNDEFINED:
        walk.in_pixels = walk.in_pixels or (tag in _PIXEL_DATA and not walk.open)
        walk.enter(tag, vr)
        return tag, None
    start = walk.position
    walk.skip(length)
    if walk.open or tag not in wanted:
        return tag, None
    return tag, bytes(walk.content[start : start + min(length, _LONGEST_VALUE)])
