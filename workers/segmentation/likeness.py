"""How far a framed stack lies from what its family's network was trained on, by the network's own features.

A slice is described by mean and deviation of each feature of the network's third level within the body, and by its
greys. Most of what such descriptions of the training images differ by lies along a few axes. A slice is unlike them
where it lies far out along these axes (Mahalanobis distance), or off them altogether. Of a stack the median counts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from workers.errors import WeightsMismatch
from workers.segmentation.families import Frame
from workers.segmentation.framing import neighbours

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.segmentation.families import Family
    from workers.segmentation.framing import FramedStack
    from workers.segmentation.unet import UNet

    FloatArray = NDArray[np.float32]

LIKENESS = "likeness.safetensors"
"""Its file, beside the networks'."""
LEVELS = 3
"""Levels of the network down to the features that describe a slice: deeper ones told other regions apart less well."""
SAMPLED_SLICES = 12
"""Slices, evenly spaced over the stack, that are described."""
MOST_AXES = 20
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
LEAST_DEVIATION = 0.05
"""Of the mean deviation of all values: none is taken to be smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingLikeness:
    """Descriptions of the training images as a normal distribution along a few axes.

    ``centre`` and ``scale`` ``[value]``, ``axes`` ``[value, axis]`` orthonormal, ``spread`` ``[axis]`` the deviation
    along each, ``limits`` the largest median of the distance along the axes, and off them, that is no surprise.
    """

    centre: FloatArray
    scale: FloatArray
    axes: FloatArray
    spread: FloatArray
    limits: FloatArray

    def excess(self, described: FloatArray) -> float:
        """Return by how much, relative to its limit, the described slices lie farther away; 0 where they do not."""
        return max(0.0, float((self.distances(described) / self.limits).max()) - 1.0)

    def distances(self, described: FloatArray) -> FloatArray:
        """Return the median distance along the axes and off them of slices ``[slice, value]``."""
        moved = (described - self.centre) / self.scale
        placed = moved @ self.axes
        along = np.linalg.norm(placed / self.spread, axis=1) / np.sqrt(len(self.spread))
        off = np.linalg.norm(moved - placed @ self.axes.T, axis=1) / np.sqrt(len(self.centre))
        return np.asarray([np.median(along), np.median(off)], dtype=np.float32)

    def write(self, folder: Path) -> None:
        """Write it beside the networks."""
        save_file(
            {part.name: np.ascontiguousarray(getattr(self, part.name)) for part in fields(self)}, folder / LIKENESS
        )


def read_likeness(folder: Path) -> TrainingLikeness:
    """Read what ``write`` wrote; raises WeightsMismatch."""
    try:
        stored = load_file(folder / LIKENESS)
        return TrainingLikeness(**{part.name: stored[part.name] for part in fields(TrainingLikeness)})
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsMismatch(f"{LIKENESS} of {folder.name} cannot be read: restore the folder") from error


def fit(descriptions: Sequence[FloatArray]) -> TrainingLikeness:
    """Return the distribution of described stacks ``[slice, value]``, with limits of 1."""
    rows = np.concatenate(list(descriptions)).astype(np.float64)
    centre, deviation = rows.mean(axis=0), rows.std(axis=0)
    scale = deviation + LEAST_DEVIATION * deviation.mean() + 1e-6
    moved = (rows - centre) / scale
    axes = np.linalg.svd(moved, full_matrices=False)[2][: min(MOST_AXES, len(rows))].T
    spread = (moved @ axes).std(axis=0) + 1e-6
    parts = (centre, scale, axes, spread, np.ones(2))
    return TrainingLikeness(*(np.asarray(part, dtype=np.float32) for part in parts))


@torch.inference_mode()
def describe(network: UNet, stack: FramedStack, family: Family) -> FloatArray:
    """Return the descriptions ``[slice, value]`` of slices spread over a framed stack; in single precision."""
    rows = np.unique(np.linspace(0, len(stack.images) - 1, SAMPLED_SLICES).round().astype(int))
    seen = neighbours(len(stack.images), stack.spacing_mm[0], family)[rows]
    device = next(network.parameters()).device
    described = []
    for row, shown in zip(rows, seen, strict=True):
        features = network.features(torch.from_numpy(stack.images[shown])[None].to(device), LEVELS)[0].cpu()
        body = torch.from_numpy(stack.body[row].astype(np.float32))[None]
        weight = functional.adaptive_avg_pool2d(body, (features.shape[-2], features.shape[-1]))
        described.append(np.concatenate([_within(features, weight), _greys(stack, row, family)]))
    return np.asarray(described, dtype=np.float32)


def _within(features: torch.Tensor, weight: torch.Tensor) -> FloatArray:
    """Return mean and deviation of each feature, weighted by the share of the body."""
    total = weight.sum() + 1e-3
    mean = (features * weight).sum(dim=(1, 2)) / total
    variance = ((features - mean[:, None, None]).square() * weight).sum(dim=(1, 2)) / total
    return torch.cat([mean, variance.sqrt()]).numpy()


def _greys(stack: FramedStack, row: int, family: Family) -> FloatArray:
    """Return quantiles of the grey in the body, its sharpness, the body's share of the frame and its area in dm2.

    The area counts as 0 where the spacing of pixels says nothing.
    """
    image, body = stack.images[row], stack.body[row]
    quantiles = np.quantile(image[body], QUANTILES) if body.any() else np.full(len(QUANTILES), -1.0)
    inside = body[:-1, :-1]
    steps = np.abs(np.diff(image, axis=0))[:, :-1] + np.abs(np.diff(image, axis=1))[:-1]
    sharpness = float(steps[inside].mean()) if inside.any() else 0.0
    area = 0.0 if family.frame is Frame.PICTURE else body.sum() * stack.spacing_mm[1] ** 2 / 1e4
    return np.asarray([*quantiles, sharpness, body.mean(), area], dtype=np.float32)
