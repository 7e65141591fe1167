"""From suspicion and residuals to one score without any training: each is measured against the volume's own tissue.

A map's value becomes a robust z-score: how many deviations (1.4826 times the median absolute deviation) it lies above
the median of what is taken for healthy in the same volume. The rule is one for all models and prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

MAD_TO_DEVIATION = 1.4826
"""Of a normal distribution, deviation over median absolute deviation."""
LEAST_HEALTHY = 50
"""Fewest places that a spread is measured on."""


@dataclass(frozen=True, slots=True)
class FusionRule:
    """How maps are fused and when a score becomes a mask.

    Z-scores are cut at ``highest``, so that no map outvotes the others, and averaged by the weights. ``suspicious`` is
    the z-score of attention above which a place is redrawn, ``lesion`` the fused one above which it is lesion.
    Weights and ``lesion`` were chosen on phantoms, where residuals of redrawing made every model worse: with both
    weights 0 nothing is redrawn.
    """

    smoothing_mm: float = 4.0
    suspicious: float = 3.0
    grown_mm: float = 4.0
    attention: float = 1.0
    pixel: float = 0.0
    feature: float = 0.0
    highest: float = 12.0
    lesion: float = 5.0
    minimum_ml: float = 0.5

    @property
    def redraws(self) -> bool:
        """Return whether residuals count, so that suspicious regions are to be redrawn."""
        return self.pixel > 0.0 or self.feature > 0.0


def z_scores(values: FloatArray, healthy: BoolArray) -> FloatArray:
    """Return robust z-scores against the ``healthy`` places; 0 everywhere where these are too few or all alike."""
    known = values[healthy]
    if known.size < LEAST_HEALTHY:
        return np.zeros_like(values)
    centre = float(np.median(known))
    spread = MAD_TO_DEVIATION * float(np.median(np.abs(known - centre)))
    if not spread > 0.0:
        return np.zeros_like(values)
    return np.asarray((values - centre) / spread, dtype=np.float32)


def smoothed(maps: FloatArray, spacing_mm: tuple[float, ...], deviation_mm: float) -> FloatArray:
    """Return maps ``[n, *size]`` smoothed within each tile."""
    sigmas = [deviation_mm / step for step in spacing_mm]
    return np.asarray(ndimage.gaussian_filter(maps, (0.0, *sigmas)), dtype=np.float32)


def grown(region: BoolArray, spacing_mm: tuple[float, ...], by_mm: float) -> BoolArray:
    """Return a region ``[n, *size]`` grown within each tile by a distance, at least by one place."""
    if not region.any():
        return region
    reached = [
        ndimage.distance_transform_edt(~tile, sampling=spacing_mm) <= max(by_mm, *spacing_mm) if tile.any() else tile
        for tile in region
    ]
    return np.array(reached, dtype=bool)


def fused(attention: FloatArray, pixel: FloatArray, feature: FloatArray, rule: FusionRule) -> FloatArray:
    """Return the score 0..1 of z-scored maps: 0.5 where their weighted mean is ``rule.lesion``."""
    parts = ((rule.attention, attention), (rule.pixel, pixel), (rule.feature, feature))
    total = sum(weight for weight, _ in parts)
    level = sum((weight / total) * np.clip(part, 0.0, rule.highest) for weight, part in parts)
    return np.asarray(level / (level + rule.lesion), dtype=np.float32)


def lesions(score: FloatArray, spacing_mm: Vector, *, threshold: float, minimum_ml: float) -> BoolArray:
    """Return the mask of a score ``[z, y, x]`` on a volume's grid: above the threshold, filled, none too small."""
    above = score > threshold
    above = np.array([ndimage.binary_fill_holes(plane) for plane in above], dtype=bool).reshape(above.shape)
    labels, count = ndimage.label(above, structure=np.ones((3, 3, 3)))
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    kept = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml >= minimum_ml
    kept[0] = False
    return np.asarray(kept[labels])
