"""Whether a volume looks like what the model was trained on: distance of its latent statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from workers.segmentation import framing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.backbone import LatentDiffusion
    from workers.segmentation.calibration import Familiarity

    FloatArray = NDArray[np.float32]

LOOKS = 12
"""Slices, spread evenly over the stack, that the statistics are taken from."""
SHRINKAGE = 0.1


@torch.inference_mode()
def describe(backbone: LatentDiffusion, images: FloatArray) -> FloatArray:
    """Summarise a framed stack: latent means, deviations and sharpness, and the grey levels of the head."""
    chosen = images[np.unique(np.linspace(0, len(images) - 1, LOOKS).round().astype(int))]
    latents = backbone.encode(torch.from_numpy(chosen[:, None]))
    sharpness = latents.diff(dim=-1).abs().mean(dim=(0, 2, 3)) + latents.diff(dim=-2).abs().mean(dim=(0, 2, 3))
    heads = np.stack([framing.head(image) for image in chosen])
    grey = np.quantile(chosen[heads], (0.1, 0.3, 0.5, 0.7, 0.9)) if heads.any() else np.full(5, -1.0)
    parts = (latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3)), sharpness)
    return np.concatenate([*(part.float().cpu().numpy() for part in parts), grey, [heads.mean()]]).astype(np.float32)


def distance(known: Familiarity, backbone: LatentDiffusion, images: FloatArray) -> float:
    """Give 0 for a stack no farther from the training volumes than tuning ones are, and the excess ratio beyond."""
    return max(0.0, mahalanobis(describe(backbone, images), known) / known.reach - 1.0)


def mahalanobis(described: FloatArray, known: Familiarity) -> float:
    """Give the Mahalanobis distance of a description from the training volumes."""
    offset = described - np.array(known.centre)
    return float(np.sqrt(max(0.0, offset @ np.array(known.precision) @ offset)))


def fit(descriptions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give centre and inverse covariance (shrunk towards its diagonal) of descriptions ``[volume, value]``."""
    covariance = np.cov(descriptions, rowvar=False)
    spread = np.diag(np.diag(covariance) + 1e-6)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * spread
    return descriptions.mean(axis=0), np.asarray(np.linalg.inv(shrunk), dtype=np.float32)
