"""Read a few top-level elements of an encoded data set, and see that it is whole, without building anything.

A general parser makes an object of every item of every sequence, so a small hostile data set becomes gigabytes, or
recurses until the stack ends. This walk keeps one entry per open sequence, decodes no value and never recurses:
time grows with the number of elements, memory with the nesting depth, and both are bounded (PS3.5 7.1, 7.5, A.4).
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import lru_cache
from mmap import mmap
from typing import Any, NamedTuple

from pydicom.uid import UID

from dicom_gateway.errors import DataSetTooComplex, UndecodableObject

Content = bytes | bytearray | memoryview | mmap

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_ITEM_GROUP = 0xFFFE
_PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_MOST_ELEMENTS = 2_000_000
_DEEPEST = 64
_LONGEST_VALUE = 16_384
_REMEMBERED = 64
_SHORT_WALK = 20_000
"""So many elements are a few milliseconds of work; data sets of more are walked one at a time."""


class _Syntax(NamedTuple):
    """How headers are read in a transfer syntax."""

    implicit: bool
    explicit_header: Callable[..., tuple[Any, ...]]
    implicit_header: Callable[..., tuple[Any, ...]]
    long_length: Callable[..., tuple[Any, ...]]


class ElementWalks:
    """The walks of one process. Long ones take turns: beside one of them, other threads get theirs at once."""

    def __init__(self) -> None:
        self._long = threading.Lock()

    def read(
        self, content: Content, transfer_syntax_uid: str, wanted: AbstractSet[int], *, start: int = 0
    ) -> dict[int, bytes]:
        """Return what ``read_elements`` does."""
        walk = _Walk(content, transfer_syntax_uid, wanted, start)
        if not walk.go_on(_SHORT_WALK):
            with self._long:
                walk.finish()
        return walk.found


def read_elements(
    content: Content, transfer_syntax_uid: str, wanted: AbstractSet[int], *, start: int = 0
) -> dict[int, bytes]:
    """Return the raw values of the wanted top-level elements of a complete data set that begins at byte ``start``.

    UndecodableObject where an element is cut off, delimiters do not match or a wanted element comes twice;
    DataSetTooComplex where it has too many elements, or sequences nested too deep. What follows the pixel data need not
    be well formed: some devices pad there.
    """
    walk = _Walk(content, transfer_syntax_uid, wanted, start)
    walk.finish()
    return walk.found


def read_header(
    content: Content, transfer_syntax_uid: str, wanted: AbstractSet[int], *, start: int = 0
) -> dict[int, bytes]:
    """Return what ``read_elements`` does of what stands before the pixels; of a file nothing else is looked at."""
    walk = _HeaderWalk(content, transfer_syntax_uid, wanted, start)
    with contextlib.suppress(_PixelsReached):
        walk.finish()
    return walk.found


class _Walk:
    """Where a walk is. ``open`` holds, for each open sequence or item, its end tag and the syntax outside it."""

    __slots__ = ("content", "found", "implicit", "in_pixels", "open", "past_pixels", "position", "syntax", "wanted")

    def __init__(self, content: Content, transfer_syntax_uid: str, wanted: AbstractSet[int], start: int) -> None:
        self.syntax = _syntax(transfer_syntax_uid)
        self.content = content
        self.wanted = wanted
        self.position = start
        self.implicit = self.syntax.implicit
        self.open: list[tuple[int, bool]] = []
        self.found: dict[int, bytes] = {}
        self.in_pixels = False
        self.past_pixels = False

    def finish(self) -> None:
        """Walk to the end."""
        if not self.go_on(_MOST_ELEMENTS):
            raise DataSetTooComplex(f"the data set has more than {_MOST_ELEMENTS} elements")

    def go_on(self, elements: int) -> bool:
        """Walk over so many elements more, and say whether that was the end of the data set."""
        try:
            return self._step_over(elements)
        except struct.error:
            error = UndecodableObject(f"the data set ends inside an element at byte {self.position}")
        except DataSetTooComplex:
            raise
        except UndecodableObject as cause:
            error = cause
        if self.past_pixels and not self.in_pixels:
            return True
        raise error

    def _step_over(self, elements: int) -> bool:  # noqa: C901, PLR0912 - every call in this loop costs each image dear
        content, end, wanted, found = self.content, len(self.content), self.wanted, self.found
        _, explicit_header, implicit_header, long_length = self.syntax
        position = self.position
        for _ in range(elements):
            if position >= end and not self.open:
                return True
            self.position = position
            vr = b""
            if self.implicit:
                group, element, length = implicit_header(content, position)
                position += 8
            else:
                group, element, vr, length = explicit_header(content, position)
                if group == _ITEM_GROUP:  # items and delimiters never have a VR (PS3.5 7.5)
                    vr = b""
                    (length,) = long_length(content, position + 4)
                    position += 8
                elif vr in _LONG_VRS:
                    (length,) = long_length(content, position + 8)
                    position += 12
                elif vr.isalpha() and vr.isupper():
                    position += 8
                else:
                    raise UndecodableObject(
                        f"element {group:04X}{element:04X} has no value representation at byte {position}"
                    )
            tag = group << 16 | element
            if tag in (_ITEM_END, _SEQUENCE_END):
                self._leave(tag)
                continue
            if length == _UNDEFINED:
                self._enter(tag, vr)
                continue
            start, position = position, position + length
            if position > end:
                raise UndecodableObject(
                    f"the data set ends at byte {end}, inside a value of {length} bytes: it is truncated"
                )
            if self.open:
                continue
            if tag in wanted:
                if tag in found:
                    raise UndecodableObject(f"element {tag:08X} comes twice")
                found[tag] = bytes(content[start : start + min(length, _LONGEST_VALUE)])
            elif tag in _PIXEL_DATA:
                self.past_pixels = True
        self.position = position
        return position >= end and not self.open

    def _enter(self, tag: int, vr: bytes) -> None:
        """Go into a sequence, an item or encapsulated pixel data of undefined length."""
        if len(self.open) >= _DEEPEST:
            raise DataSetTooComplex(f"sequences are nested more than {_DEEPEST} deep")
        if tag in _PIXEL_DATA and not self.open:
            self.in_pixels = True
        self.open.append((_ITEM_END if tag == _ITEM else _SEQUENCE_END, self.implicit))
        if vr == b"UN":
            self.implicit = True  # PS3.5 6.2.2: what UN of undefined length holds is encoded implicitly

    def _leave(self, tag: int) -> None:
        """Come out of what was entered last; its own delimiter must say so."""
        if not self.open or self.open[-1][0] != tag:
            raise UndecodableObject(f"a delimiter {tag:08X} closes nothing at byte {self.position}")
        _, self.implicit = self.open.pop()
        if self.in_pixels and not self.open:
            self.past_pixels, self.in_pixels = True, False


class _PixelsReached(Exception):
    """A walk of a header is at the pixels."""


class _HeaderWalk(_Walk):
    """A walk that does not go through frames; native pixels are one step anyway."""

    __slots__ = ()

    def _enter(self, tag: int, vr: bytes) -> None:
        if tag in _PIXEL_DATA and not self.open:
            raise _PixelsReached
        super()._enter(tag, vr)


@lru_cache(maxsize=_REMEMBERED)
def _syntax(transfer_syntax_uid: str) -> _Syntax:
    syntax = UID(transfer_syntax_uid)
    order = "<" if syntax.is_little_endian else ">"
    return _Syntax(
        bool(syntax.is_implicit_VR),
        struct.Struct(f"{order}HH2sH").unpack_from,
        struct.Struct(f"{order}HHL").unpack_from,
        struct.Struct(f"{order}L").unpack_from,
    )
