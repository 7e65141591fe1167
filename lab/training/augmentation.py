"""What scanners and positioning do to slices: drawn anew for every sample. Stacks are ``[n, s, y, x]`` in 0..1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from lab.training.fields import FieldBank

BLURRED_SHARE = 0.3
KERNEL = 7
MOST_MIXED = 0.45
"""Largest weight of the neighbours in a thick slice's middle, and of the middle in a thin one's neighbours."""


@dataclass(frozen=True, slots=True)
class Movement:
    """How far stacks are moved at most.

    ``turn`` is a spread in radians, ``shift`` along x and y a share of half the image, ``scale`` a logarithm.
    Framing centres the head, which is compared with its mirror image, so that turn and shift are small by default.
    """

    turn: float = 0.1
    shift: tuple[float, float] = (0.05, 0.09)
    scale: float = 0.16


@dataclass(frozen=True, slots=True)
class Scanner:
    """How much scanners differ: largest logarithms of the contrast curve and of the gain, shading, noise."""

    curve: float = 0.3
    gain: float = 0.25
    shading: float = 0.13
    noise: float = 0.03


HEAD_MOVEMENT = Movement()
HEAD_SCANNER = Scanner()


def move(
    grey: Tensor, regions: tuple[Tensor, ...], rng: np.random.Generator, *, movement: Movement = HEAD_MOVEMENT
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mirror, turn, scale, shear and shift each stack together with its regions (bool, of the same shape)."""
    count = len(grey)
    angle = rng.normal(0.0, movement.turn, count)
    scale = np.exp(rng.uniform(-movement.scale, movement.scale, count))
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    mirror, aspect = rng.choice((-1.0, 1.0), count), np.exp(rng.uniform(-0.08, 0.08, count))
    shift = rng.uniform(-1.0, 1.0, (2, count)) * np.array(movement.shift)[:, None]
    matrix = np.stack(
        [
            np.stack([cosine * mirror, -sine, shift[0]], axis=1),
            np.stack([sine * mirror, cosine * aspect, shift[1]], axis=1),
        ],
        axis=1,
    )
    theta = torch.from_numpy(matrix.astype(np.float32))
    grid = functional.affine_grid(theta, list(grey.shape), align_corners=False)
    moved = functional.grid_sample(grey, grid, align_corners=False)
    joined = functional.grid_sample(torch.cat(regions, dim=1).float(), grid, align_corners=False) > 0.5  # noqa: PLR2004 - nearest
    return moved, joined.tensor_split(len(regions), dim=1)


def rescan(
    grey: Tensor,
    bank: FieldBank,
    rng: np.random.Generator,
    generator: torch.Generator,
    *,
    scanner: Scanner = HEAD_SCANNER,
) -> Tensor:
    """Change gain, contrast curve, coil shading, sharpness and noise; the slices of a stack share a scanner."""
    count = len(grey)

    def spread(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, count).astype(np.float32)).view(-1, 1, 1, 1)

    curved = grey.clamp(0, 1) ** spread(-scanner.curve, scanner.curve).exp() * spread(-scanner.gain, scanner.gain).exp()
    shaded = curved * (1.0 + spread(0.0, scanner.shading) * bank.batch(rng, np.full(count, 16.0)))
    blurred = _blur(shaded, rng)
    noise = torch.randn(grey.shape, generator=generator)
    return (blurred + spread(0.0, scanner.noise) * noise).clamp(0, 1)


def _blur(grey: Tensor, rng: np.random.Generator) -> Tensor:
    """Soften some of the stacks by a Gaussian of their own."""
    count, depth = grey.shape[:2]
    sigma = np.where(rng.random(count) < BLURRED_SHARE, rng.uniform(0.3, 1.1, count), 1e-3)
    offsets = np.arange(KERNEL) - KERNEL // 2
    kernel = np.exp(-0.5 * (offsets[None] / sigma[:, None]) ** 2)
    weights = torch.from_numpy((kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32))
    stacked = grey.reshape(1, count * depth, *grey.shape[-2:])
    weights = weights.repeat_interleave(depth, dim=0)[:, None]
    half = KERNEL // 2
    padded = functional.pad(stacked, (half, half, half, half), mode="replicate")
    rows = functional.conv2d(padded, weights[:, :, :, None], groups=count * depth)
    return functional.conv2d(rows, weights[:, :, None, :], groups=count * depth).view(grey.shape)


def thickened(grey: Tensor, rng: np.random.Generator, *, share: float) -> Tensor:
    """Return stacks ``[n, 3, y, x]`` of which a ``share`` is sliced more thickly or thinly; others as they are.

    A thick slice has a part of its neighbours in it; thin ones lie nearer to each other. Single slices stay.
    """
    if share <= 0 or grey.shape[1] == 1:
        return grey
    count = len(grey)
    mixed = _each(rng.uniform(0.0, MOST_MIXED, count) * (rng.random(count) < share))
    thin = _each(rng.random(count) < 0.5)  # noqa: PLR2004 - either as often
    below, middle, above = grey[:, :1], grey[:, 1:2], grey[:, 2:]
    thick, near = mixed * (1.0 - thin), mixed * thin
    centre = middle * (1.0 - thick) + (below + above) * 0.5 * thick
    return torch.cat([below + (middle - below) * near, centre, above + (middle - above) * near], dim=1)


def _each(values: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1, 1)
