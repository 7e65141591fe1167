"""From a score map to a mask: smoothing across slices, thresholds, components. Arrays are ``[z, y, x]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.domain import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class MaskRule:
    """When a score becomes a mask. All of it is fixed on tuning data, none on the image at hand.

    A voxel belongs to the mask above ``threshold``. A component stays when its peak exceeds ``peak``, it fills
    ``minimum_ml``, and the score summed over it is at least ``share`` of that of the weightiest component: faint echoes
    beside a clear lesion go. ``smoothing_mm`` is the deviation of the Gaussian across slices.
    """

    threshold: float
    peak: float
    minimum_ml: float
    smoothing_mm: float
    share: float


def smooth_across(scores: FloatArray, spacing_z_mm: float, smoothing_mm: float) -> FloatArray:
    """Smooth scores along ``z``, by no more than one slice's neighbours where slices are thick."""
    if len(scores) == 1 or smoothing_mm <= 0:
        return scores
    sigma = min(4.0, smoothing_mm / spacing_z_mm)
    return np.asarray(ndimage.gaussian_filter1d(scores, sigma, axis=0, mode="nearest"), dtype=np.float32)


def to_mask(scores: FloatArray, spacing_mm: Vector, rule: MaskRule) -> BoolArray:
    """Threshold a score map and keep the components that are certain and large enough."""
    candidate = scores > rule.threshold
    labels, count = ndimage.label(candidate, structure=np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros(scores.shape, dtype=bool)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    large = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml >= rule.minimum_ml
    certain = np.asarray(ndimage.maximum(scores, labels, index=np.arange(count + 1))) > rule.peak
    keep = large & certain
    keep[0] = False
    weight = np.bincount(labels.ravel(), weights=scores.ravel(), minlength=count + 1) * keep
    keep &= weight >= rule.share * weight.max()
    mask = keep[labels]
    return np.asarray(np.stack([ndimage.binary_fill_holes(plane) for plane in mask]), dtype=bool)


def case_level(scores: FloatArray, spacing_mm: Vector, volume_ml: float) -> float:
    """Give the mean of the highest scores that together fill ``volume_ml``: a few bright voxels alone count little."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    count = min(scores.size, max(1, round(volume_ml / voxel_ml)))
    return float(np.partition(scores, scores.size - count, axis=None)[-count:].mean())
