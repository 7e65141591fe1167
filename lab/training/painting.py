"""Paint lesions on images of any size: their shapes, widths and textures are laid down for squares of 128 pixels.

On other sizes they are painted on a reduced or enlarged copy, and what that changed is added to the image itself, which
keeps its own detail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from lab.training import lesions
from lab.training.lesions import Painted
from lab.training.slices import GRID

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lab.training.fields import FieldBank


def paint(
    grey: Tensor, heads: Tensor, wanted: Tensor, *, bank: FieldBank, rng: np.random.Generator, taken: Tensor
) -> Painted:
    """Paint as ``lesions.paint`` does, on stacks of squares of any size; ``bank`` holds fields of 128 pixels."""
    size = grey.shape[-1]
    if size == GRID:
        return lesions.paint(grey, heads, wanted, bank=bank, rng=rng, taken=taken)
    copy = resized(grey, GRID)
    masked = [resized(region.float(), GRID) > 0.5 for region in (heads, taken)]  # noqa: PLR2004 - nearest
    painted = lesions.paint(copy, masked[0], wanted, bank=bank, rng=rng, taken=masked[1])
    changed = grey + resized(painted.grey - copy, size)
    masks = (resized(painted.masks, size) > 0.5).float()  # noqa: PLR2004 - nearest
    return Painted(changed.clamp(0, 1), masks, painted.kinds)


def resized(maps: Tensor, size: int) -> Tensor:
    """Return maps ``[n, c, y, x]`` as squares of ``size`` pixels."""
    grown: Tensor = functional.interpolate(maps, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return torch.as_tensor(grown)
