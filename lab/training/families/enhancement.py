"""Tumours of the head that take up contrast, each kind where it grows, and uptake that is no tumour.

Meningiomas sit with a broad base at the surface or the midline, even and sharp; pituitary tumours are smooth and lie
in the middle of the head; gliomas lie within the brain, as rings with dark cores, patches, or dark parts without
uptake, all of which is marked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from lab.training import outlines
from lab.training.families.painting import (
    Painted,
    TumourKind,
    blurred,
    cover,
    displaced,
    middle,
    spread,
    texture,
)
from lab.training.outlines import Canvas, Outline, Shapes, some

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.fields import FieldBank

KINDS = tuple(TumourKind)
SHARES = (0.3, 0.45, 0.25)
SHAPES = {
    TumourKind.MENINGIOMA: Shapes((3.0, 22.0), large=6.0, large_share=0.65, white_share=0.0, rough=0.15),
    TumourKind.GLIOMA: Shapes((3.0, 28.0), large=8.0, large_share=0.7, lobed_share=0.5, white_share=0.0, rough=0.35),
    TumourKind.PITUITARY: Shapes((2.0, 11.0), large=4.0, large_share=0.6, white_share=0.0, rough=0.12),
}
SURFACE = (5, 14)
"""Pixels below the skin that the bases of meningiomas lie at."""
WITHIN = 11
"""Pixels below the skin from which on gliomas are centred."""
LOWEST = 0.72
"""Share of the picture's height above which most of the brain lies, whatever the plane."""
SELLA = ((0.54, 0.07), (0.5, 0.05))
"""Middle and spread, as shares of the picture, of where the pituitary lies from above, before and beside: y, x."""
MIDLINE = 0.03
"""Share of the picture's width by which the falx lies off its middle at most."""
SKULL = 5
"""Pixels of scalp and skull that meningiomas are cut off at."""
VESSELS = 0.35
DARK_SHARE = 0.4
"""Share of gliomas that take up no contrast, but in spots: low-grade ones, cysts."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sorts:
    """Which samples show which kind, bool ``[n, 1, 1, 1]``."""

    meningioma: Tensor
    glioma: Tensor
    pituitary: Tensor

    def pick(self, meningioma: Tensor, glioma: Tensor, pituitary: Tensor) -> Tensor:
        """Return each sample's value of its own kind."""
        return torch.where(self.meningioma, meningioma, torch.where(self.glioma, glioma, pituitary))


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one tumour into every stack, of a kind that is told; most push the brain aside."""
    count = len(canvas.grey)
    drawn = rng.choice(len(KINDS), count, p=SHARES)
    sorts = _Sorts(*(torch.from_numpy(drawn == index).view(-1, 1, 1, 1) for index in range(len(KINDS))))
    outline = _outline(canvas, drawn, bank, rng)
    grey = _vessels(canvas, bank, rng)
    grey = displaced(grey, outline, spread(rng, 0.2, 0.9, count) * some(rng, count, 0.6))
    deep = _deeper(canvas.room, SKULL)
    room = torch.where(sorts.meningioma & some(rng, count, 0.85), deep, canvas.room)
    soft = sorts.pick(spread(rng, 0.25, 0.9, count), spread(rng, 0.3, 1.8, count), spread(rng, 0.3, 1.0, count))
    covered = cover(outline, soft) * room
    inside = _inside(canvas, grey, outline, sorts, bank=bank, rng=rng)
    painted = grey + (inside - grey) * covered * spread(rng, 0.8, 1.0, count)
    painted = _around(painted, outline, covered, sorts, rng)
    kinds = tuple(KINDS[index] for index in drawn)
    return Painted(painted.clamp(0, 1), (middle(covered) > 0.5).float(), kinds)  # noqa: PLR2004 - half covered


def untouched(grey: Tensor, rng: np.random.Generator, bank: FieldBank) -> Tensor:
    """Return stacks without a tumour, with vessels that take up contrast in some."""
    room = grey > 0.1  # noqa: PLR2004 - not what is outside
    canvas = Canvas(grey, room, room, _median(grey), torch.zeros(len(grey), dtype=torch.bool))
    return _vessels(canvas, bank, rng).clamp(0, 1)


def _median(grey: Tensor) -> Tensor:
    inside = grey.masked_fill(grey <= 0.1, float("nan")).flatten(1)  # noqa: PLR2004 - not what is outside
    return torch.nan_to_num(inside.nanmedian(dim=1).values, nan=0.4).clamp(min=0.02).view(-1, 1, 1, 1)


def _outline(canvas: Canvas, drawn: np.ndarray, bank: FieldBank, rng: np.random.Generator) -> Outline:
    """Draw each tumour where its kind grows, wherever there is room where that has none."""
    count = len(canvas.grey)
    height = torch.zeros_like(canvas.grey)
    centres, radii = torch.zeros(count, 2), torch.ones(count, 1, 1, 1)
    for index, kind in enumerate(KINDS):
        rows = torch.from_numpy(np.flatnonzero(drawn == index))
        if len(rows):
            part = canvas.of(rows, canvas.grey)
            grown = _growing(kind, part.room, rng)
            usable = torch.where(middle(grown).flatten(1).any(dim=1).view(-1, 1, 1, 1), grown, part.room)
            one = outlines.draw(replace(part, room=usable), bank, rng, shapes=SHAPES[kind])
            height[rows], centres[rows], radii[rows] = one.height, one.centres, one.radii
    return Outline(height, centres, radii)


def _growing(kind: TumourKind, room: Tensor, rng: np.random.Generator) -> Tensor:
    """Return where tumours of a kind are centred."""
    side, count = room.shape[-1], len(room)
    y = (torch.arange(side).view(1, 1, -1, 1) + 0.5) / side
    x = (torch.arange(side).view(1, 1, 1, -1) + 0.5) / side
    if kind is TumourKind.PITUITARY:
        (y_middle, y_spread), (x_middle, x_spread) = SELLA
        return room & (((y - y_middle) / y_spread).square() + ((x - x_middle) / x_spread).square() < 1.0)
    if kind is TumourKind.GLIOMA:
        return _deeper(room, WITHIN) & ((y < LOWEST) | some(rng, count, 0.2))
    rim = _deeper(room, SURFACE[0]) & ~_deeper(room, SURFACE[1])
    return rim | (room & ((x - 0.5).abs() < MIDLINE) & (y < LOWEST) & some(rng, count, 0.4))


def _inside(
    canvas: Canvas, grey: Tensor, outline: Outline, sorts: _Sorts, *, bank: FieldBank, rng: np.random.Generator
) -> Tensor:
    """Return the grey of a tumour at each place: even, mottled, patchy, dark, or a ring of uneven width."""
    count, shape, tissue = len(grey), grey.shape, canvas.tissue
    dark = sorts.glioma & some(rng, count, DARK_SHARE)
    uptake = sorts.pick(spread(rng, 1.2, 2.4, count), spread(rng, 1.1, 2.3, count), spread(rng, 1.1, 2.2, count))
    bright = tissue * uptake
    level = torch.where(dark, tissue * spread(rng, 0.25, 0.95, count), bright)
    depth = outline.height + spread(rng, 0.05, 0.35, count) * texture(bank, rng, (2.0, 6.0), shape)
    core = torch.sigmoid((depth - spread(rng, 0.1, 0.5, count)) * spread(rng, 6.0, 25.0, count))
    share = sorts.pick(*(torch.full((count, 1, 1, 1), one) for one in (0.1, 0.6, 0.15)))
    ringed = core * (torch.from_numpy(rng.random(count)).view(-1, 1, 1, 1) < share) * ~dark
    within = torch.where(some(rng, count, 0.3), grey, tissue * spread(rng, 0.2, 1.0, count))
    most = sorts.pick(*(torch.full((count, 1, 1, 1), one) for one in (0.1, 0.25, 0.1)))
    mottled = 1.0 + spread(rng, 0.0, 1.0, count) * most * texture(bank, rng, (1.0, 5.0), shape)
    patchy = torch.sigmoid((texture(bank, rng, (2.0, 6.0), shape) + spread(rng, -0.7, 1.5, count)) * 5.0)
    lacking = tissue * spread(rng, 0.5, 1.0, count)
    level = torch.where(sorts.glioma & some(rng, count, 0.3), lacking + (level - lacking) * patchy, level)
    spots = torch.sigmoid((texture(bank, rng, (1.5, 5.0), shape) - spread(rng, 0.8, 2.2, count)) * 5.0)
    level = level + (bright - level) * spots * (dark & some(rng, count, 0.5))
    return (level + (within - level) * ringed) * mottled


def _around(painted: Tensor, outline: Outline, covered: Tensor, sorts: _Sorts, rng: np.random.Generator) -> Tensor:
    """Darken the brain around some tumours, as oedema does where there is no mark."""
    count = len(painted)
    near = torch.sigmoid((outline.height + spread(rng, 0.2, 1.0, count)) * 8.0) * (1.0 - covered)
    shown = some(rng, count, 0.45) & ~sorts.pituitary
    return painted * (1.0 - blurred(near, 2.0) * spread(rng, 0.05, 0.35, count) * shown)


def _vessels(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Draw thin bright lines in some stacks: vessels and dura take up contrast and are no tumours."""
    grey, count = canvas.grey, len(canvas.grey)
    field = texture(bank, rng, (4.0, 12.0), grey.shape)
    lines = torch.exp(-(field / spread(rng, 0.03, 0.12, count)).square())
    here = torch.sigmoid((texture(bank, rng, (6.0, 12.0), grey.shape) - spread(rng, 0.0, 1.5, count)) * 4.0)
    shown = lines * here * canvas.room * some(rng, count, VESSELS) * spread(rng, 0.3, 1.0, count)
    return grey + (torch.maximum(grey, canvas.tissue * spread(rng, 1.2, 2.4, count)) - grey) * shown


def _deeper(room: Tensor, pixels: int) -> Tensor:
    """Return what lies at least so many pixels within the room."""
    grown = functional.max_pool2d((~room).float(), 2 * pixels + 1, stride=1, padding=pixels)
    return grown == 0
