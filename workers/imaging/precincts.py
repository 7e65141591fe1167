"""How many parts a JPEG 2000 codestream says it has: a few bytes can promise millions, each of which costs memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_J2K_START = b"\xff\x4f\xff\x51"
_SIZE, _CODING, _COMPONENT_CODING, _TILE, _DATA, _END = 0x51, 0x52, 0x53, 0x90, 0x93, 0xD9
_MANY_COMPONENTS = 257
_WHOLE = 15
"""The exponent of a precinct's side where none is given: 2 ** 15 pixels."""
_FEW_PER_COMPONENT = 64
_SAMPLES_PER_PRECINCT = 64
"""Precincts are at least this large on average in any stream that an encoder writes to be read."""


@dataclass(frozen=True, slots=True)
class _Coding:
    layers: int
    levels: int
    exponents: tuple[tuple[int, int], ...]
    """Width and height of a precinct as powers of two, the lowest resolution first."""


def promises_too_much(frame: bytes) -> bool:
    """Say whether a JPEG 2000 codestream promises more parts than its bytes or its pixels can hold.

    A packet takes a byte at least (ISO/IEC 15444-1 B.10), and there is one for each precinct and layer. What is no
    JPEG 2000 promises nothing; a header that ends too early is left to the decoder.
    """
    start = frame.find(_J2K_START) if frame.startswith(_JP2_SIGNATURE) else 0
    if start < 0 or not frame.startswith(_J2K_START, start):
        return False
    try:
        return _promises_too_much(frame, start)
    except (struct.error, IndexError):
        return False


def _promises_too_much(frame: bytes, start: int) -> bool:
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">IIIIII", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    width, height = right - left, bottom - top
    if min(width, height, tile_width, tile_height, components) < 1:
        return True
    tiles = -(-width // tile_width) * -(-height // tile_height)
    tile = (min(width, tile_width), min(height, tile_height))
    worst, layers = 0, 1
    for coding in _codings(frame, start + 2, of_component=1 if components < _MANY_COMPONENTS else 2):
        worst, layers = max(worst, tiles * components * _precincts(tile, coding)), max(layers, coding.layers)
    most = components * (_FEW_PER_COMPONENT + width * height // _SAMPLES_PER_PRECINCT)
    return worst > most or worst * layers > len(frame)


def _precincts(tile: tuple[int, int], coding: _Coding) -> int:
    """Count the precincts of one component of one tile over all resolutions (ISO/IEC 15444-1 B.6)."""
    total = 0
    for level, sides in enumerate(coding.exponents):
        shrink = coding.levels - level
        along = (-(-side // (1 << shrink)) for side in tile)
        columns, rows = (-(-size // (1 << side)) for size, side in zip(along, sides, strict=True))
        total += columns * rows
    return total


def _codings(frame: bytes, at: int, *, of_component: int) -> Iterator[_Coding]:
    """Yield each coding style of all headers; a component's number takes ``of_component`` bytes."""
    tile_start = tile_length = 0
    while at + 4 <= len(frame):
        marker = frame[at + 1]
        if marker == _END:
            return
        if marker == _DATA:
            at = tile_start + tile_length
            if not tile_length:  # the tile reaches to the end of the stream
                return
            continue
        (length,) = struct.unpack_from(">H", frame, at + 2)
        if marker == _TILE:
            tile_start, (tile_length,) = at, struct.unpack_from(">I", frame, at + 6)
        elif marker == _CODING:
            (layers,) = struct.unpack_from(">H", frame, at + 6)
            yield _coding(frame, at + 9, layers=layers, style=frame[at + 4])
        elif marker == _COMPONENT_CODING:
            yield _coding(frame, at + 5 + of_component, layers=1, style=frame[at + 4 + of_component])
        at += 2 + length


def _coding(frame: bytes, at: int, *, layers: int, style: int) -> _Coding:
    levels = frame[at]
    if not style & 1:
        return _Coding(layers, levels, ((_WHOLE, _WHOLE),) * (levels + 1))
    sizes = [frame[at + 5 + level] for level in range(levels + 1)]
    return _Coding(layers, levels, tuple((size & 0x0F, size >> 4) for size in sizes))
