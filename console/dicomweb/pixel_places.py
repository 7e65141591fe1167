"""Where the frames of a file lie, so that one can be read without the others (PS3.5 8.1, A.4)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

from console.dicomweb.reading_faults import reading
from dicom_gateway.errors import UndecodableObject
from workers.decoding.encoded_frames import FrameLayout

_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_GROUP = 0x7FE0
_MOST_FRAGMENTS = 1_000_000
_ITEM_HEAD = 8
_WIDE, _NARROW = struct.Struct("<Q"), struct.Struct("<L")
_BYTE = 8
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""How codestreams of JPEG and JPEG-LS, and of JPEG 2000, begin."""

Extent = tuple[int, int]
"""Where bytes begin in a file, and how many they are."""


@dataclass(frozen=True, slots=True)
class PixelElement:
    """The pixel data element of a file: its tag, VR, and where its value lies; ``length`` None is encapsulated."""

    tag: int
    vr: str
    start: int
    length: int | None


@dataclass(frozen=True, slots=True)
class PixelPlaces:
    """Where each frame of one file lies.

    Of encapsulated pixels ``extents`` are the fragments of each frame; of native ones every frame takes ``bits`` from
    ``element.start`` on, which need not be whole bytes.
    """

    syntax: str
    element: PixelElement
    layout: FrameLayout
    frames: int
    bits: int
    extents: tuple[tuple[Extent, ...], ...] = ()

    @property
    def is_encapsulated(self) -> bool:
        """Whether frames are codestreams."""
        return self.element.length is None

    def read(self, file: BinaryIO, number: int) -> bytes:
        """Return one frame, counted from 1, as it is stored."""
        if self.is_encapsulated:
            return b"".join(os.pread(file.fileno(), size, start) for start, size in self.extents[number - 1])
        first, last = (number - 1) * self.bits, number * self.bits
        start, end = first // _BYTE, -(-last // _BYTE)
        content = os.pread(file.fileno(), end - start, self.element.start + start)
        if first % _BYTE == 0 and last % _BYTE == 0:
            return content
        bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[first - start * _BYTE :][: self.bits]
        return np.packbits(bits, bitorder="little").tobytes()


def find_places(path: Path, *, name: str) -> PixelPlaces | None:
    """Return where the frames of a file lie; None where it has no pixels. UndecodableObject with its ``name``."""
    with path.open("rb") as file, reading(name):
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
        element = pixel_element(file, header)
        if element is None or "Rows" not in header:
            return None
        frames = max(1, int(header.get("NumberOfFrames") or 1))
        layout = _layout(header)
        syntax = str(header.file_meta.TransferSyntaxUID)
        if element.length is not None:
            bits = _frame_bits(layout)
            frames = min(frames, element.length * _BYTE // max(bits, 1))
            return PixelPlaces(syntax, element, layout, frames, bits)
        extents = tuple(_extents(file, element, header, frames))
        return PixelPlaces(syntax, element, layout, len(extents), 0, extents)


def pixel_element(file: BinaryIO, header: Dataset) -> PixelElement | None:
    """Return the pixel data at which reading of a header has stopped; None where it came to the file's end."""
    at = file.tell()
    syntax = UID(str(header.file_meta.TransferSyntaxUID))
    order = "<" if syntax.is_little_endian else ">"
    head = os.pread(file.fileno(), 12, at)
    if len(head) < 12 or syntax.is_deflated:  # noqa: PLR2004 - tag, VR and length
        return None
    group, number = struct.unpack_from(f"{order}HH", head)
    if group != _GROUP:
        return None
    if syntax.is_implicit_VR:
        vr, start = "OW", at + 8
        (length,) = struct.unpack_from(f"{order}L", head, 4)
    else:
        vr, start = head[4:6].decode("ascii", errors="replace"), at + 12
        (length,) = struct.unpack_from(f"{order}L", head, 8)
    return PixelElement(group << 16 | number, vr, start, None if length == _UNDEFINED else length)


def _layout(header: Dataset) -> FrameLayout:
    allocated = int(header.get("BitsAllocated") or _BYTE)
    return FrameLayout(
        rows=int(header.Rows),
        columns=int(header.Columns),
        samples=int(header.get("SamplesPerPixel") or 1),
        bits_allocated=allocated,
        bits_stored=int(header.get("BitsStored") or allocated),
        signed=int(header.get("PixelRepresentation") or 0) == 1,
        photometric_interpretation=str(header.get("PhotometricInterpretation") or ""),
        planar_configuration=int(header.get("PlanarConfiguration") or 0),
    )


def _frame_bits(layout: FrameLayout) -> int:
    bits = layout.frame_samples * layout.bits_allocated
    return bits * 2 // 3 if layout.photometric_interpretation == "YBR_FULL_422" else bits


def _extents(file: BinaryIO, element: PixelElement, header: Dataset, frames: int) -> Iterator[tuple[Extent, ...]]:
    """Yield the fragments of each frame: by an offset table where there is one, else one each, else by their starts."""
    fragments = list(_fragments(file, element.start))
    if not fragments:
        return
    table, fragments = fragments[0], fragments[1:]
    if frames == 1:
        yield tuple(fragments)
    elif starts := _extended_table(header, fragments, frames) or _basic_table(file, table, fragments, frames):
        yield from _grouped(fragments, starts)
    elif len(fragments) == frames:
        yield from ((one,) for one in fragments)
    else:
        begun = [
            start - _ITEM_HEAD for start, size in fragments if os.pread(file.fileno(), 4, start).startswith(_STARTS)
        ]
        yield from _grouped(fragments, begun[:frames])


def _extended_table(header: Dataset, fragments: Sequence[Extent], frames: int) -> Sequence[int]:
    """Return where frames begin by the Extended Offset Table (PS3.3 C.7.6.3.1.8), nothing where a file has none.

    UndecodableObject where it is none of these frames: they are not where it says, and could be taken for others.
    """
    table = header.get("ExtendedOffsetTable")
    if not table:
        return ()
    if isinstance(table, bytes) and len(table) == frames * _WIDE.size:
        starts = _starts([offset for (offset,) in _WIDE.iter_unpack(table)], fragments)
        if starts:
            return starts
    raise UndecodableObject(f"the Extended Offset Table does not say where the {frames} frames begin")


def _basic_table(file: BinaryIO, table: Extent, fragments: Sequence[Extent], frames: int) -> Sequence[int]:
    """Return where frames begin by the Basic Offset Table (PS3.5 A.4); nothing where it is empty or wrong.

    Its numbers of 32 bits run over in large files, so a wrong one is no sign of damage.
    """
    if table[1] != frames * _NARROW.size:
        return ()
    content = os.pread(file.fileno(), table[1], table[0])
    return _starts([offset for (offset,) in _NARROW.iter_unpack(content)], fragments)


def _starts(offsets: Sequence[int], fragments: Sequence[Extent]) -> Sequence[int]:
    """Return where in the file frames begin that a table counts from the first item; nothing unless each is an item."""
    items = [start - _ITEM_HEAD for start, _ in fragments]
    starts = [items[0] + offset for offset in offsets] if items else []
    is_sound = starts[:1] == items[:1] and all(a < b for a, b in pairwise(starts)) and set(starts) <= set(items)
    return starts if is_sound else ()


def _grouped(fragments: Sequence[Extent], starts: Sequence[int]) -> Iterator[tuple[Extent, ...]]:
    """Yield the fragments between one start and the next."""
    position = 0
    for begin, end in pairwise([*starts, None]):
        group: list[Extent] = []
        while position < len(fragments) and (end is None or fragments[position][0] - _ITEM_HEAD < end):
            if begin is not None and fragments[position][0] - _ITEM_HEAD >= begin:
                group.append(fragments[position])
            position += 1
        yield tuple(group)


def _fragments(file: BinaryIO, start: int) -> Iterator[Extent]:
    """Yield the items of encapsulated pixel data: the offset table first, and then every fragment."""
    position = start
    for _ in range(_MOST_FRAGMENTS):
        head = os.pread(file.fileno(), 8, position)
        if len(head) < 8:  # noqa: PLR2004 - tag and length
            raise UndecodableObject("the pixel data end inside an item")
        group, element, length = struct.unpack("<HHL", head)
        if (group << 16 | element) == _SEQUENCE_END:
            return
        if (group << 16 | element) != _ITEM or length == _UNDEFINED:
            raise UndecodableObject("the pixel data hold what is no item")
        yield position + 8, length
        position += 8 + length
    raise UndecodableObject(f"the pixel data have more than {_MOST_FRAGMENTS} fragments")
