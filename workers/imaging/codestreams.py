"""The size that a compressed frame itself claims, so that a decoder is never handed more than the header promised."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_START = b"\xff\xd8"
_END = b"\xff\xd9"
# Start-of-frame markers (ISO/IEC 10918-1 B.1.1.3 and JPEG-LS 14495-1 C.1.1); C4, C8 and CC are not frames.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_MARKER_PREFIX = 0xFF


@dataclass(frozen=True, slots=True)
class FrameSize:
    """Rows, columns, components and bits for each sample, as the codestream states them."""

    rows: int
    columns: int
    components: int
    precision: int


def codestream_size(frame: bytes) -> FrameSize | None:
    """Return what a JPEG, JPEG-LS or JPEG 2000 codestream says of itself, or None where it is none of them."""
    try:
        if frame.startswith(_JPEG_START):
            return _jpeg_size(frame)
        start = frame.find(_J2K_START) if frame.startswith(_JP2_SIGNATURE) else 0
        if start >= 0 and frame[start : start + 4] == _J2K_START:
            return _j2k_size(frame, start)
    except (struct.error, IndexError):
        return None
    return None


def has_end(frame: bytes) -> bool:
    """Say whether a JPEG, JPEG-LS or JPEG 2000 codestream was not cut off: all end with the marker FFD9.

    Neither family lets those two bytes stand anywhere in its image data (ISO/IEC 10918-1 B.1.1.5, 15444-1 D.4.1); what
    some writers put behind them does not count.
    """
    return _END in frame


def _jpeg_size(frame: bytes) -> FrameSize | None:
    """Walk the marker segments to the start of the frame."""
    at = 2
    while frame[at] == _MARKER_PREFIX:
        marker = frame[at + 1]
        if marker == _MARKER_PREFIX:  # a fill byte before the marker
            at += 1
            continue
        (length,) = struct.unpack_from(">H", frame, at + 2)
        if marker in _FRAME_MARKERS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", frame, at + 4)
            return FrameSize(rows, columns, components, precision)
        at += 2 + length
    return None


def _j2k_size(frame: bytes, start: int) -> FrameSize:
    """Read the image size segment (ISO/IEC 15444-1 A.5.1)."""
    x_size, y_size, x_offset, y_offset = struct.unpack_from(">IIII", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    precision = (frame[start + 42] & 0x7F) + 1
    return FrameSize(y_size - y_offset, x_size - x_offset, components, precision)
