"""Masses of the breast: smooth ovals, cysts, and ragged ones that swallow sound, with what they do to what lies below.

Ovals lie along the layers and are nearly as bright as fat or darker; cysts echo next to nothing and brighten what lies
below; ragged ones are dark, as tall as wide, with a bright halo, and their shadow often goes on in their own grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lab.training import outlines
from lab.training.families.painting import Painted, blurred, cover, middle, spread, texture
from lab.training.outlines import Canvas, Outline, Shapes, some

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.fields import FieldBank

OVALS = Shapes(
    (2.5, 40.0), large=9.0, large_share=0.6, lobed_share=0.25, white_share=0.0, rough=0.12,
    turns=(-0.35, 0.35), stretch=(-0.6, 0.05),
)  # fmt: skip # reads by its lines
RAGGED = Shapes(
    (5.0, 38.0), large=12.0, large_share=0.7, lobed_share=0.6, white_share=0.0, rough=0.4,
    turns=(-0.5, 0.5), stretch=(-0.45, 0.3),
)  # fmt: skip # reads by its lines
RAGGED_SHARE, FLUID_SHARE = 0.45, 0.22
"""Share of ragged masses, and of the others that hold fluid."""
DEPTHS = (0.1, 0.75)
"""Between these shares of the picture's height masses are centred."""
AIMED, AIM, AROUND = 0.8, (0.42, 0.5), (0.28, 0.34)
"""Share of pictures that are aimed at their mass, where it then lies (y, x) and how far around, in shares."""
SEEN = 0.13
"""Mean grey of the surroundings that a mass is centred in: what is darker is too deep to be seen."""
DARKEST = 0.04
"""Grey below which a pixel lies outside the picture, or too deep for a halo."""
CALLIPERS = 0.35
LETTERS = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class _Sorts:
    """Which masses are ragged, and which hold fluid, bool ``[n, 1, 1, 1]``."""

    ragged: Tensor
    fluid: Tensor


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one mass into every picture, with what it does to the echoes below, and callipers into some."""
    count, side = len(canvas.grey), canvas.grey.shape[-1]
    rows, columns = torch.arange(side).view(1, 1, -1, 1) / side, torch.arange(side).view(1, 1, 1, -1) / side
    local = blurred(canvas.grey, 6.0)
    away = ((rows - AIM[0]) / AROUND[0]).square() + ((columns - AIM[1]) / AROUND[1]).square()
    aimed = (away < spread(rng, 0.15, 1.0, count)) | ~some(rng, count, AIMED)
    room = canvas.room & (local > SEEN) & (rows > DEPTHS[0]) & (rows < DEPTHS[1])
    room = torch.where((room & aimed).flatten(1).any(dim=1).view(-1, 1, 1, 1), room & aimed, room)
    ragged = some(rng, count, RAGGED_SHARE)
    sorts = _Sorts(ragged, some(rng, count, FLUID_SHARE) & ~ragged)
    outline = _outline(Canvas(canvas.grey, room, room, canvas.tissue, canvas.firm), bank, rng, sorts)
    soft = torch.where(sorts.ragged, spread(rng, 0.6, 3.0, count), spread(rng, 0.3, 1.5, count))
    covered = cover(outline, soft) * (local > SEEN / 2)
    grey = _below(canvas.grey, covered, sorts, rng)
    grey = _halo(grey, outline, sorts, rng)
    inside = _inside(canvas.grey, covered, sorts, bank=bank, rng=rng)
    painted = grey + (inside - grey) * covered * spread(rng, 0.85, 1.0, count)
    masks = (middle(covered) > 0.5).float()  # noqa: PLR2004 - half covered
    return Painted(marked(painted.clamp(0, 1), masks, rng), masks)


def unpainted(grey: Tensor, rng: np.random.Generator, _bank: FieldBank) -> Tensor:
    """Return pictures without a mass, with callipers and letters in some."""
    return marked(grey, torch.zeros_like(grey[:, :1]), rng)


def _outline(canvas: Canvas, bank: FieldBank, rng: np.random.Generator, sorts: _Sorts) -> Outline:
    smooth, rough = (outlines.draw(canvas, bank, rng, shapes=shapes) for shapes in (OVALS, RAGGED))
    return Outline(
        torch.where(sorts.ragged, rough.height, smooth.height),
        torch.where(sorts.ragged[:, 0, 0], rough.centres, smooth.centres),
        torch.where(sorts.ragged, rough.radii, smooth.radii),
    )


def _inside(grey: Tensor, covered: Tensor, sorts: _Sorts, *, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Return the grey of a mass at each place: a share of its surroundings', mottled, with speckle."""
    count, local = len(grey), blurred(grey, 6.0)
    total = covered.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    beside = ((local * covered).sum(dim=(2, 3), keepdim=True) / total).clamp(min=0.15)
    share = torch.where(sorts.ragged, spread(rng, 0.1, 0.7, count), spread(rng, 0.15, 0.9, count))
    share = torch.where(sorts.fluid, spread(rng, 0.0, 0.15, count), share)
    speckle = (grey - local) * spread(rng, 0.2, 1.0, count) + spread(rng, 0.0, 0.1, count) * texture(
        bank, rng, (0.7, 1.5), grey.shape
    )
    coarse = spread(rng, 0.0, 0.35, count) * texture(bank, rng, (1.5, 8.0), grey.shape)
    return beside * share * (1.0 + coarse) + speckle * share.sqrt()


def _below(grey: Tensor, covered: Tensor, sorts: _Sorts, rng: np.random.Generator) -> Tensor:
    """Darken or brighten what lies below a mass: shadow of what absorbs sound, enhancement behind fluid."""
    count = len(grey)
    passed = covered.cumsum(dim=2) / covered.sum(dim=2, keepdim=True).amax(dim=3, keepdim=True).clamp(min=1)
    below = blurred(passed * (1.0 - covered), 1.5).clamp(0, 1)
    shadow, brighter = -spread(rng, 0.0, 0.95, count), spread(rng, 0.0, 0.6, count)
    change = torch.where(sorts.ragged | some(rng, count, 0.2), shadow, brighter)
    return grey * (1.0 + change * below * some(rng, count, 0.85))


def _halo(grey: Tensor, outline: Outline, sorts: _Sorts, rng: np.random.Generator) -> Tensor:
    """Draw a bright line just outside some masses: a thin capsule, or the broad halo of ragged ones."""
    count = len(grey)
    wide = torch.where(sorts.ragged, spread(rng, 1.5, 5.0, count), spread(rng, 0.7, 1.5, count))
    line = torch.exp(-(outline.height * outline.radii / wide).square()) * (outline.height < 0) * (grey > DARKEST)
    return grey + line * some(rng, count, 0.5) * spread(rng, 0.05, 0.35, count)


def marked(grey: Tensor, masks: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw callipers beside some masses, and crosses and letters elsewhere: they are no sign of anything."""
    side = grey.shape[-1]
    grey = grey.clone()
    for sample in np.flatnonzero(rng.random(len(grey)) < CALLIPERS):
        places = torch.nonzero(masks[sample, 0])
        free = rng.integers(4, side - 4, (2, 2))
        ends = free if not len(places) or rng.random() < 0.4 else places[[0, -1]].numpy()  # noqa: PLR2004 - some lie elsewhere
        for y, x in ends:
            top, left = int(np.clip(y, 2, side - 3)), int(np.clip(x, 2, side - 3))
            grey[sample, :, top - 1 : top + 2, left] = 0.9
            grey[sample, :, top, left - 1 : left + 2] = 0.9
    for sample in np.flatnonzero(rng.random(len(grey)) < LETTERS):
        top, left, long = int(rng.integers(4, side - 10)), int(rng.integers(4, side - 40)), int(rng.integers(8, 32))
        strokes = torch.from_numpy(rng.random((4, long)) < 0.5)  # noqa: PLR2004 - as small letters look at this size
        place = grey[sample, :, top : top + 4, left : left + long]
        place[strokes.expand_as(place)] = float(rng.uniform(0.6, 1.0))
    return grey
