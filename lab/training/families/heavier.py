"""Samples that differ more than scanners do: what a second round is trained on, so that its marks are learned anywhere.

Contrast, gain, shading and noise are drawn from wider ranges, slices are made thicker or thinner, fields of view cut.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lab.training.augmentation import Scanner
from lab.training.outlines import each

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lab.training.families.painters import Recipe

WIDER = 1.7
"""How much wider the ranges of a scanner are, and how much more often a field of view is cut."""
SHADING = 2.5
THICK_SHARE = 0.5
MOST_MIXED = 0.45
"""Largest weight of the neighbours in a thick slice's middle, and of the middle in a thin one's neighbours."""


def heavier(recipe: Recipe) -> Recipe:
    """Return a family's recipe with wider ranges."""
    known = recipe.scanner
    scanner = Scanner(known.curve * WIDER, known.gain * WIDER, known.shading * SHADING, known.noise * WIDER)
    return replace(recipe, scanner=scanner, cut=min(1.0, recipe.cut * WIDER), thick=THICK_SHARE)


def thickened(grey: Tensor, rng: np.random.Generator, *, share: float) -> Tensor:
    """Return stacks ``[n, 3, y, x]`` of which a ``share`` is sliced more thickly or thinly; others as they are.

    A thick slice has a part of its neighbours in it; thin ones lie nearer to each other. Single slices stay.
    """
    if share <= 0 or grey.shape[1] == 1:
        return grey
    count = len(grey)
    mixed = each(rng.uniform(0.0, MOST_MIXED, count) * (rng.random(count) < share))
    thin = each((rng.random(count) < 0.5).astype("float32"))  # noqa: PLR2004 - either as often
    below, middle, above = grey[:, :1], grey[:, 1:2], grey[:, 2:]
    thick, near = mixed * (1.0 - thin), mixed * thin
    centre = middle * (1.0 - thick) + (below + above) * 0.5 * thick
    return torch.cat([below + (middle - below) * near, centre, above + (middle - above) * near], dim=1)
