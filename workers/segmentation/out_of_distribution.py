"""How far a volume lies from the training volumes: the Mahalanobis distance of statistics of its latents and greys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.calibration import TrainingStatistics
    from workers.segmentation.grid import ModelStack
    from workers.segmentation.model import LatentDiffusion

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

SAMPLED_SLICES = 12
"""Slices, evenly spaced over the stack, that the statistics are taken from."""
SHRINKAGE = 0.1
"""Weight of the covariance's diagonal in the covariance that is inverted."""


@torch.inference_mode()
def describe(model: LatentDiffusion, images: FloatArray, skull: BoolArray) -> FloatArray:
    """Return the statistics ``[value]`` of a stack ``[z, 128, 128]`` in -1..1 with its skull mask.

    They are mean, deviation and sharpness of each latent channel, five quantiles of the grey inside the skull, and the
    share of the slices that the skull covers.
    """
    chosen = np.unique(np.linspace(0, len(images) - 1, SAMPLED_SLICES).round().astype(int))
    images, skull = images[chosen], skull[chosen]
    latents = model.encode(torch.from_numpy(images[:, None]))
    sharpness = latents.diff(dim=-1).abs().mean(dim=(0, 2, 3)) + latents.diff(dim=-2).abs().mean(dim=(0, 2, 3))
    grey = np.quantile(images[skull], (0.1, 0.3, 0.5, 0.7, 0.9)) if skull.any() else np.full(5, -1.0)
    parts = (latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)), sharpness)
    return np.concatenate([*(part.float().cpu().numpy() for part in parts), grey, [skull.mean()]]).astype(np.float32)


def excess_distance(known: TrainingStatistics, model: LatentDiffusion, stack: ModelStack) -> float:
    """Return by how much, relative to the farthest tuning volume, a stack lies farther away; 0 where it does not."""
    return max(0.0, mahalanobis(describe(model, stack.images, stack.skull), known) / known.reach - 1.0)


def mahalanobis(described: FloatArray, known: TrainingStatistics) -> float:
    """Return the Mahalanobis distance of statistics from those of the training volumes."""
    offset = described - np.array(known.centre)
    return float(np.sqrt(max(0.0, offset @ np.array(known.precision) @ offset)))


def fit(descriptions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return centre and inverse covariance (shrunk towards its diagonal) of statistics ``[volume, value]``."""
    covariance = np.cov(descriptions, rowvar=False)
    diagonal = np.diag(np.diag(covariance) + 1e-6)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * diagonal
    return descriptions.mean(axis=0), np.asarray(np.linalg.inv(shrunk), dtype=np.float32)
