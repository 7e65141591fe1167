"""Real lesions made faint and lesions moved to another head: what an earlier round found teaches more than its place.

What is found is mostly bright; what is missed is mostly as solid, with its folds gone, and hardly brighter than the
brain. So what is found is shown again with its contrast taken away, whole or in part, and again inside other heads, at
the contrast that it has or at less. No expert's mask is read. Tensors are ``[n, s, y, x]``, as in ``lesions``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from workers.training.outlines import LIKENESS, each, some, somewhere

if TYPE_CHECKING:
    from torch import Tensor

    from workers.training.fields import FieldBank
    from workers.training.outlines import Canvas

FADED_SHARE = 0.4
FADED_PART_SHARE = 0.6
"""Share of finds that are made faint, and of those the share that is so in part alone."""
FADING = (0.05, 0.8)
"""What is left of a faded find's contrast."""
CONTRASTS = (0.2, 1.1)
"""What is left of a moved lesion's contrast."""
OPACITIES = (0.75, 1.0)
SOFTNESS = (3, 5, 7)
"""Widths in pixels over which a lesion's border is smoothed."""


def fade(grey: Tensor, found: Tensor, tissue: Tensor, *, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Take contrast from some of what was ``found`` (bool) in stacks ``grey``: its texture stays, its level goes.

    ``tissue [n, 1, 1, 1]`` is the median grey of each stack.
    """
    count, depth = grey.shape[:2]
    level = grey.masked_fill(~found, float("nan")).flatten(1).nanmedian(dim=1).values.view(-1, 1, 1, 1)
    excess = torch.nan_to_num(level - tissue, nan=0.0)
    field = bank.sheaf(rng, np.exp(rng.uniform(1.2, 2.6, count)), slices=depth, likeness=LIKENESS)
    part = torch.sigmoid((field + each(rng.uniform(-0.5, 0.8, count))) * each(rng.uniform(2.0, 8.0, count)))
    where = torch.where(some(rng, count, FADED_PART_SHARE), part, 1.0) * _softened(found, rng)
    lost = each(1.0 - rng.uniform(*FADING, count)) * some(rng, count, FADED_SHARE)
    return (grey - excess * lost * where).clamp(0, 1)


def graft(
    canvas: Canvas, donors: Tensor, found: Tensor, donor_tissue: Tensor, *, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Move what was ``found`` in the stacks ``donors`` to places in the canvas's room; returns stacks and middle masks.

    Greys are taken over as multiples of the tissue's, ``donor_tissue [n, 1, 1, 1]``.
    """
    count, depth = donors.shape[:2]
    places = somewhere(canvas.room[:, depth // 2], rng)
    moved, there = _moved(donors, found, places)
    ratio = moved / donor_tissue
    level = canvas.tissue * (1.0 + each(rng.uniform(*CONTRASTS, count)) * (ratio - 1.0))
    cover = _softened(there, rng) * canvas.room
    blended = canvas.grey + (level - canvas.grey) * cover * each(rng.uniform(*OPACITIES, count))
    middle = slice(depth // 2, depth // 2 + 1)
    return blended.clamp(0, 1), (cover[:, middle] > 0.5).float()  # noqa: PLR2004 - half covered


def _moved(donors: Tensor, found: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Shift each stack so that the middle of what was found comes to its place ``(y, x)``."""
    grey, there = torch.empty_like(donors), torch.empty_like(found)
    for row, (stack, marks) in enumerate(zip(donors, found, strict=True)):
        spots = torch.nonzero(marks[len(marks) // 2]).float()
        if not len(spots):
            grey[row], there[row] = stack, False
            continue
        shift = tuple((places[row] - spots.mean(dim=0)).round().int().tolist())
        grey[row], there[row] = stack.roll(shift, dims=(1, 2)), marks.roll(shift, dims=(1, 2))
    return grey, there


def _softened(regions: Tensor, rng: np.random.Generator) -> Tensor:
    size = int(rng.choice(SOFTNESS))
    return functional.avg_pool2d(regions.float(), size, stride=1, padding=size // 2)
