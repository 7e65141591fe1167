"""Soft-tissue masses: nearly as grey as muscle, known by fat planes that are bent aside and by lost texture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from lab.training import outlines
from lab.training.families.painting import Painted, cover, displaced, middle, spread, texture
from lab.training.outlines import Canvas, Shapes, some

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lab.training.fields import FieldBank
    from lab.training.outlines import Outline


@dataclass(frozen=True, slots=True)
class MassLook:
    """How masses differ from the muscle around them; greys are multiples of the muscle's.

    ``bright`` are parts such as blood and fat, ``cores`` such as dead tissue, ``rims`` a thin capsule or a cuff of
    fat; each has the share of masses that show it.
    """

    level: tuple[float, float]
    mottling: float
    grain: float
    bright: tuple[float, float]
    bright_share: float
    core: tuple[float, float]
    core_share: float
    rim: tuple[float, float]
    rim_share: float
    bone_above: float = 2.0
    """Grey from which on something is bone, which no mass replaces."""


SHAPES = Shapes(radii=(3.5, 30.0), large=9.0, large_share=0.6, white_share=0.0, slice_steps=(1.5, 3.0), rough=0.3)
MR_T1 = MassLook((0.7, 1.3), 0.14, 0.07, (1.2, 2.4), 0.35, (0.55, 0.95), 0.3, (0.4, 1.8), 0.4)
CT = MassLook((0.8, 1.02), 0.05, 0.06, (1.03, 1.15), 0.1, (0.7, 0.95), 0.4, (0.7, 1.0), 0.2, bone_above=0.85)


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator, *, look: MassLook) -> Painted:
    """Paint one mass into every stack; what lay there gives way in most of them."""
    outline = outlines.draw(canvas, bank, rng, shapes=SHAPES)
    count = len(canvas.grey)
    strength = spread(rng, 0.3, 1.0, count) * some(rng, count, 0.85)
    grey = displaced(canvas.grey, outline, strength)
    room = displaced(canvas.room.float(), outline, strength)
    covered = cover(outline, spread(rng, 0.3, 1.6, count)) * room * (grey < look.bone_above)
    opacity = spread(rng, 0.75, 1.0, count)
    painted = grey + (_inside(canvas, outline, bank, rng, look) - grey) * covered * opacity
    painted = _rimmed(painted, replace(canvas, room=room), outline, look=look, rng=rng)
    return Painted(painted.clamp(0, 1), (middle(covered) > 0.5).float())  # noqa: PLR2004 - half covered


MR_MASSES = partial(paint, look=MR_T1)
CT_MASSES = partial(paint, look=CT)


def _inside(canvas: Canvas, outline: Outline, bank: FieldBank, rng: np.random.Generator, look: MassLook) -> Tensor:
    """Return the grey of a mass at each place: a level, mottled and grained, with a core and bright parts."""
    shape, count = canvas.grey.shape, len(canvas.grey)
    level = spread(rng, *look.level, count)
    coarse = texture(bank, rng, (2.0, 8.0), shape)
    parts = torch.sigmoid((coarse - spread(rng, 0.2, 1.4, count)) * spread(rng, 2.0, 8.0, count))
    bright = parts * some(rng, count, look.bright_share) * (spread(rng, *look.bright, count) - 1.0)
    depth = outline.height + 0.25 * texture(bank, rng, (2.0, 6.0), shape)
    core = torch.sigmoid((depth - spread(rng, 0.25, 0.7, count)) * spread(rng, 5.0, 20.0, count))
    dark = core * some(rng, count, look.core_share) * (1.0 - spread(rng, *look.core, count))
    mottled = spread(rng, 0.0, look.mottling, count) * texture(bank, rng, (1.0, 6.0), shape)
    grained = spread(rng, 0.0, look.grain, count) * texture(bank, rng, (0.7, 1.2), shape)
    return canvas.tissue * level * (1.0 + bright - dark + mottled + grained)


def _rimmed(painted: Tensor, canvas: Canvas, outline: Outline, *, look: MassLook, rng: np.random.Generator) -> Tensor:
    """Draw a line along the surface of some masses: a dark capsule, or bright fat that is pressed together."""
    count = len(painted)
    wide = spread(rng, 0.5, 1.3, count)
    line = torch.exp(-(outline.height * outline.radii / wide).square()) * canvas.room
    shown = line * some(rng, count, look.rim_share) * spread(rng, 0.3, 1.0, count)
    return painted + (canvas.tissue * spread(rng, *look.rim, count) - painted) * shown
