"""Tumours of the head that take up contrast: even and sharp, or rings with dark cores and what lies around them.

Meningiomas sit at the surface, adenomas at the base; all are brighter than the brain by how much contrast they take up,
some hardly, and gliomas are marked with their core and with dark oedema-like parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lab.training import outlines
from lab.training.families.painting import Painted, blurred, cover, displaced, middle, spread, texture
from lab.training.outlines import Canvas, Shapes, some

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lab.training.fields import FieldBank
    from lab.training.outlines import Outline

SHAPES = Shapes(radii=(2.5, 22.0), large=6.0, large_share=0.55, white_share=0.0, rough=0.3)
RING_SHARE = 0.4
"""Share of tumours with a dark core."""
DARK_SHARE = 0.12
"""Share of tumours that take up nothing, and are darker than the brain."""


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one tumour into every stack; some push the brain aside."""
    outline = outlines.draw(canvas, bank, rng, shapes=SHAPES)
    count = len(canvas.grey)
    grey = displaced(canvas.grey, outline, spread(rng, 0.2, 0.8, count) * some(rng, count, 0.5))
    covered = cover(outline, spread(rng, 0.3, 1.5, count)) * canvas.room
    painted = grey + (_inside(canvas, grey, outline, bank, rng) - grey) * covered * spread(rng, 0.75, 1.0, count)
    painted = _around(painted, outline, covered, rng)
    return Painted(painted.clamp(0, 1), (middle(covered) > 0.5).float())  # noqa: PLR2004 - half covered


def _inside(canvas: Canvas, grey: Tensor, outline: Outline, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Return the grey of a tumour at each place: even, mottled, or a ring of uneven width."""
    count, shape, tissue = len(grey), grey.shape, canvas.tissue
    level = tissue * torch.where(
        some(rng, count, DARK_SHARE), spread(rng, 0.4, 0.85, count), spread(rng, 1.15, 2.4, count)
    )
    depth = outline.height + spread(rng, 0.05, 0.3, count) * texture(bank, rng, (2.0, 6.0), shape)
    core = torch.sigmoid((depth - spread(rng, 0.15, 0.55, count)) * spread(rng, 6.0, 25.0, count))
    ringed = core * some(rng, count, RING_SHARE)
    dark = torch.where(some(rng, count, 0.3), grey, tissue * spread(rng, 0.3, 1.1, count))
    mottled = 1.0 + spread(rng, 0.0, 0.2, count) * texture(bank, rng, (1.0, 5.0), shape)
    patchy = torch.sigmoid((texture(bank, rng, (2.0, 6.0), shape) + spread(rng, -0.5, 1.5, count)) * 5.0)
    level = torch.where(some(rng, count, 0.2), tissue + (level - tissue) * patchy, level)
    return (level + (dark - level) * ringed) * mottled


def _around(painted: Tensor, outline: Outline, covered: Tensor, rng: np.random.Generator) -> Tensor:
    """Darken the brain around some tumours, as oedema does where there is no mark."""
    count = len(painted)
    near = torch.sigmoid((outline.height + spread(rng, 0.2, 0.8, count)) * 8.0) * (1.0 - covered)
    return painted * (1.0 - blurred(near, 2.0) * spread(rng, 0.1, 0.35, count) * some(rng, count, 0.4))
