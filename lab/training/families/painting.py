"""What every family's painter is given, returns and shares: a canvas, a painted batch, tissue that gives way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.training.outlines import Canvas, each

if TYPE_CHECKING:
    from lab.training.fields import FieldBank
    from lab.training.outlines import Outline


class TumourKind(StrEnum):
    """What prompts tell apart."""

    MENINGIOMA = "meningioma"
    GLIOMA = "glioma"
    PITUITARY = "pituitary tumor"


LIKENESS = 0.75
"""Correlation of a texture between neighbouring slices."""
KERNEL_SIGMAS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Stacks in 0..1 with lesions painted in, and masks 0/1 ``[n, 1, y, x]`` of their middle slices.

    ``kinds`` tells what a prompt would have to name, for families that are prompted.
    """

    grey: Tensor
    masks: Tensor
    kinds: tuple[TumourKind | None, ...] = ()


Painter = Callable[[Canvas, "FieldBank", np.random.Generator], Painted]
"""Paints one lesion into every stack of a canvas, within its room; fixed by the state of the generator."""


def spread(rng: np.random.Generator, low: float, high: float, count: int) -> Tensor:
    """Return one number per sample between two bounds, evenly drawn, ``[n, 1, 1, 1]``."""
    return each(rng.uniform(low, high, count))


def texture(bank: FieldBank, rng: np.random.Generator, sigmas: tuple[float, float], shape: torch.Size) -> Tensor:
    """Return fields of unit variance ``[n, s, y, x]``, each of a smoothness between two (log-uniform, in pixels)."""
    drawn = np.exp(rng.uniform(np.log(sigmas[0]), np.log(sigmas[1]), shape[0]))
    return bank.sheaf(rng, drawn, slices=shape[1], likeness=LIKENESS)


def cover(outline: Outline, edge_px: Tensor) -> Tensor:
    """Return how much of each pixel an outline covers, 0 to 1, with an edge so many pixels soft."""
    return torch.sigmoid(outline.height * outline.radii / edge_px)


def displaced(stacks: Tensor, outline: Outline, strength: Tensor) -> Tensor:
    """Return stacks whose tissue has given way to an outline, as if that had grown from a point.

    With ``strength`` 1 areas outside stay what they were, so that layers of fat are bent and pressed together and the
    surface bulges; with 0 nothing moves.
    """
    rows, columns = stacks.shape[-2:]
    y = torch.arange(rows, dtype=torch.float32).view(1, 1, -1, 1) - outline.centres[:, 0].view(-1, 1, 1, 1)
    x = torch.arange(columns, dtype=torch.float32).view(1, 1, 1, -1) - outline.centres[:, 1].view(-1, 1, 1, 1)
    away = (1.0 - outline.height).clamp(min=0.05)
    share = (1.0 - strength / away.square()).clamp(min=0.04).sqrt()
    share = functional.avg_pool2d(share, 3, stride=1, padding=1, count_include_pad=False)
    centre_y, centre_x = (outline.centres[:, axis].view(-1, 1, 1, 1) for axis in (0, 1))
    from_y = (y * share + centre_y + 0.5) * 2 / rows - 1
    from_x = (x * share + centre_x + 0.5) * 2 / columns - 1
    grid = torch.stack([from_x, from_y], dim=-1).flatten(0, 1)
    flat = stacks.reshape(-1, 1, rows, columns)
    moved = functional.grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return moved.view_as(stacks)


def blurred(stacks: Tensor, sigma_px: float) -> Tensor:
    """Return stacks smoothed within their slices by a Gaussian."""
    half = max(1, round(KERNEL_SIGMAS * sigma_px))
    offsets = torch.arange(-half, half + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma_px).square())
    kernel = kernel / kernel.sum()
    flat = stacks.reshape(-1, 1, *stacks.shape[-2:])
    rows = functional.conv2d(functional.pad(flat, (0, 0, half, half), mode="replicate"), kernel.view(1, 1, -1, 1))
    both = functional.conv2d(functional.pad(rows, (half, half, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return both.view_as(stacks)


def middle(stacks: Tensor) -> Tensor:
    """Return the middle slices ``[n, 1, y, x]``."""
    place = stacks.shape[1] // 2
    return stacks[:, place : place + 1]
