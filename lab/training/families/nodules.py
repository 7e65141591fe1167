"""Lung nodules: round or spiculated, solid or faint, of 4 to 18 pixels, beside vessels or on the pleura."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lab.training import outlines
from lab.training.families.painting import Painted, blurred, cover, middle, spread, texture
from lab.training.outlines import Canvas, Shapes, some

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lab.training.fields import FieldBank

SHAPES = Shapes(radii=(1.8, 9.0), large=3.0, large_share=0.6, lobed_share=0.3, white_share=0.0, rough=0.3)
AIR = 0.42
"""Grey below which a pixel is lung, of soft tissue's 1."""
SOLID_SHARE = 0.8


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one nodule into every picture; some touch the pleura."""
    grey, count = canvas.grey, len(canvas.grey)
    soft = _soft(grey)
    lung = blurred((grey < AIR * soft).float(), 2.0)
    rim = (lung > 0.35) & canvas.room  # noqa: PLR2004 - in the lung, or just beside it
    deep = (lung > 0.8) & canvas.room  # noqa: PLR2004 - well inside
    room = torch.where(some(rng, count, 0.35) | ~deep.flatten(1).any(dim=1).view(-1, 1, 1, 1), rim, deep)
    outline = outlines.draw(Canvas(grey, room, room, canvas.tissue, canvas.firm), bank, rng, shapes=SHAPES)
    covered = cover(outline, spread(rng, 0.25, 0.8, count)) * room.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    level = soft * torch.where(
        some(rng, count, SOLID_SHARE), spread(rng, 0.75, 1.1, count), spread(rng, 0.25, 0.75, count)
    )
    calcified = some(rng, count, 0.12) * spread(rng, 0.2, 0.8, count)
    level = level * (1.0 + calcified)
    inside = level * (1.0 + spread(rng, 0.0, 0.15, count) * texture(bank, rng, (1.0, 3.0), grey.shape))
    added = (torch.maximum(inside, grey) - grey) * covered
    painted = grey + blurred(added, float(rng.uniform(0.35, 0.8)))
    seen = (middle(covered) > 0.5) & (middle(added) > 0.08 * soft)  # noqa: PLR2004 - half covered, and not chest wall
    return Painted(painted.clamp(0, 1), seen.float())


def _soft(grey: Tensor) -> Tensor:
    """Return the grey of soft tissue: wall, heart or vessels, whatever is brightest but bone."""
    return grey.flatten(1).quantile(0.95, dim=1).clamp(min=0.25).view(-1, 1, 1, 1)
