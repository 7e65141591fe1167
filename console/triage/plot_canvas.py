"""Panels with axes and curves, drawn with Pillow: the product needs no plotting library for a picture or two."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path

import pymupdf_fonts
from PIL import Image, ImageDraw, ImageFont

_FINE = 2
"""Drawn so many times larger and made smaller at the end: lines and letters have smooth edges."""
_COLOURS = 64
_TICK = 5
_TEXT, _SMALL, _LARGE = 14, 13, 17

Point = tuple[float, float]


class Ink(Enum):
    """Colours on white; those of curves differ in lightness too, for eyes and printers that see no colours."""

    TEXT = (26, 28, 33)
    GREY = (97, 104, 115)
    GRID = (226, 229, 233)
    OLD = (205, 106, 20)
    NEW = (22, 84, 150)
    PLAIN = (140, 147, 156)


@dataclass(frozen=True, slots=True)
class Stroke:
    """How a curve is drawn; ``dash`` is the length of dashes and of gaps in pixels, 0 for none."""

    ink: Ink
    width: float = 2.5
    dash: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it shows, where it ends, and (value, words) of its ticks; it begins at 0."""

    label: str
    end: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A rectangle in pixels that curves are drawn in."""

    left: float
    top: float
    right: float
    bottom: float
    across: Axis
    up: Axis

    def place(self, point: Point) -> Point:
        """Return where a point of the data lies on the picture."""
        share_across, share_up = point[0] / self.across.end, point[1] / self.up.end
        return (
            self.left + share_across * (self.right - self.left),
            self.bottom - share_up * (self.bottom - self.top),
        )


class Canvas:
    """A white picture; lengths are pixels of the finished file."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._image = Image.new("RGB", (width * _FINE, height * _FINE), "white")
        self._draw = ImageDraw.Draw(self._image)

    def text(self, at: Point, text: str, ink: Ink = Ink.TEXT, *, anchor: str = "ls", size: int = _TEXT) -> float:
        """Write a line at an anchor of Pillow's (left and base line by default), and return how long it is."""
        font = _font(size * _FINE)
        self._draw.text((at[0] * _FINE, at[1] * _FINE), text, fill=ink.value, font=font, anchor=anchor)
        return font.getlength(text) / _FINE

    def heading(self, at: Point, text: str) -> None:
        """Write a title."""
        self.text(at, text, size=_LARGE)

    def line(self, points: Sequence[Point], stroke: Stroke) -> None:
        """Draw a line through points of the picture."""
        width = max(1, round(stroke.width * _FINE))
        for piece in _dashed(points, stroke.dash) if stroke.dash else (points,):
            placed = [(x * _FINE, y * _FINE) for x, y in piece]
            self._draw.line(placed, fill=stroke.ink.value, width=width, joint="curve")

    def axes(self, panel: Panel, title: str) -> None:
        """Draw the grid, the axes, their ticks and labels, and the title of a panel."""
        self.heading((panel.left, panel.top - 38), title)
        self.text((panel.left, panel.top - 14), panel.up.label, Ink.GREY, size=_SMALL)
        for value, words in panel.up.ticks:
            _, y = panel.place((0, value))
            self.line([(panel.left, y), (panel.right, y)], Stroke(Ink.GRID, 1))
            self.text((panel.left - 8, y), words, Ink.GREY, anchor="rm", size=_SMALL)
        for value, words in panel.across.ticks:
            x, _ = panel.place((value, 0))
            self.line([(x, panel.bottom), (x, panel.bottom + _TICK)], Stroke(Ink.GREY, 1))
            self.text((x, panel.bottom + 10), words, Ink.GREY, anchor="mt", size=_SMALL)
        self.line([(panel.left, panel.bottom), (panel.right, panel.bottom)], Stroke(Ink.GREY, 1))
        middle = (panel.left + panel.right) / 2
        self.text((middle, panel.bottom + 34), panel.across.label, Ink.GREY, anchor="mt", size=_SMALL)

    def curve(self, panel: Panel, points: Sequence[Point], stroke: Stroke) -> None:
        """Draw a curve that runs to the right; what lies beyond the end of the axis across is cut off."""
        shown = list(_cut(points, panel.across.end))
        if len(shown) > 1:
            self.line([panel.place(point) for point in shown], stroke)

    def legend(self, at: Point, entries: Sequence[tuple[str, Stroke]], *, most: int) -> None:
        """Write names beside samples of their curves in one row, names of more than ``most`` letters cut short."""
        x, y = at
        for name, stroke in entries:
            self.line([(x, y), (x + 30, y)], stroke)
            shown = name if len(name) <= most else f"{name[: most - 1].rstrip()}\u2026"
            x += 38 + self.text((x + 38, y), shown, anchor="lm") + 28

    def write(self, path: Path) -> None:
        """Write the picture as PNG; OSError names the file."""
        small = self._image.resize(self._size, Image.Resampling.LANCZOS)
        small.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, format="PNG", optimize=True)


def ticks(end: float, *, most: int = 6) -> tuple[tuple[float, str], ...]:
    """Return round values from 0 to ``end``, at most ``most`` steps apart by 1, 2 or 5 times a power of ten."""
    rough = end / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return tuple((index * step, f"{index * step:g}") for index in range(math.floor(end / step + 1e-9) + 1))


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(io.BytesIO(pymupdf_fonts.myfont("notos")), size)


def _cut(points: Sequence[Point], end: float) -> Iterator[Point]:
    """Yield the points up to ``end``, and the one where the curve leaves there."""
    for index, (x, y) in enumerate(points):
        if x > end:
            if index:
                before_x, before_y = points[index - 1]
                yield end, before_y + (y - before_y) * (end - before_x) / (x - before_x)
            return
        yield x, y


def _dashed(points: Sequence[Point], dash: int) -> Iterator[tuple[Point, ...]]:
    """Cut a line into dashes, each with the corners in it."""
    piece, left, drawing = [points[0]], float(dash), True
    for start, end in pairwise(points):
        length, done = math.dist(start, end), 0.0
        while length - done > left:
            done += left
            corner = tuple(a + (b - a) * done / length for a, b in zip(start, end, strict=True))
            if drawing:
                yield (*piece, (corner[0], corner[1]))
            piece, left, drawing = [(corner[0], corner[1])], float(dash), not drawing
        left -= length - done
        piece.append(end)
    if drawing and len(piece) > 1:
        yield tuple(piece)
