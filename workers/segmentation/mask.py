"""From a score map to a mask: smoothing across slices, thresholds, components. Arrays are ``[z, y, x]``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.domain import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

PEAK_ML = 0.5
"""A component's peak, for its own level, is the mean of its highest scores that fill this volume."""
HIGHEST_LEVEL = 0.97
"""No component's own level lies above this one, however certain it is."""
NEARLY_CERTAIN = 1.0 - 1e-4
"""Peaks are cut here, so that their log-odds stay finite."""
WHOLE_STACK = 8
"""Fewest slices of a stack that is taken to reach beyond what can be found at its ends."""


@dataclass(frozen=True, slots=True)
class MaskRule:
    """When a score becomes a mask. All of it is fixed on tuning data, none on the image at hand.

    A voxel belongs to the mask above ``threshold``. A component stays when its peak exceeds ``peak``, it fills
    ``minimum_ml``, and the score summed over it is at least ``share`` of that of the weightiest component: faint echoes
    beside a clear lesion go. ``smoothing_mm`` is the deviation of the Gaussian across slices.

    With a ``slope`` above 0 each component has a level of its own, never below ``threshold``: in log-odds, ``slope``
    times its peak less ``drop``. The edge of what is certain then lies higher than that of what is faint.

    With ``spread`` components end where the score does once it is spread along the image's grey, see ``spreading``:
    levels are those of the spread score, and what is certain enough to stay is still told by the score itself.

    With a ``reach_mm`` above 0 the edge of what stays follows the image's grey, see ``edges``.
    """

    threshold: float
    peak: float
    minimum_ml: float
    smoothing_mm: float
    share: float
    slope: float = 0.0
    drop: float = 0.0
    reach_mm: float = 0.0
    spread: bool = False


def smooth_across(scores: FloatArray, spacing_z_mm: float, smoothing_mm: float) -> FloatArray:
    """Smooth scores along ``z``, by no more than one slice's neighbours where slices are thick.

    Beyond the ends of a stack nothing was found: what its last slice alone shows has no neighbour that confirms it.
    Stacks of fewer than ``WHOLE_STACK`` slices are continued by their last slice instead, or little of them would stay.
    """
    if len(scores) == 1 or smoothing_mm <= 0:
        return scores
    sigma = min(4.0, smoothing_mm / spacing_z_mm)
    beyond: Literal["constant", "nearest"] = "constant" if len(scores) >= WHOLE_STACK else "nearest"
    return np.asarray(ndimage.gaussian_filter1d(scores, sigma, axis=0, mode=beyond), dtype=np.float32)


def to_mask(scores: FloatArray, spacing_mm: Vector, rule: MaskRule, *, spread: FloatArray | None = None) -> BoolArray:
    """Threshold a score map and keep the components that are certain and large enough.

    Where the ``spread`` score is given, of the same shape, it is the one that is thresholded.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    above = candidates(scores if spread is None else spread, voxel_ml, rule)
    labels, count = ndimage.label(above, structure=np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros(scores.shape, dtype=bool)
    large = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml >= rule.minimum_ml
    certain = np.asarray(ndimage.maximum(scores, labels, index=np.arange(count + 1))) > rule.peak
    keep = large & certain
    keep[0] = False
    weight = np.bincount(labels.ravel(), weights=scores.ravel(), minlength=count + 1) * keep
    keep &= weight >= rule.share * weight.max()
    return np.asarray(keep[labels], dtype=bool)


def candidates(scores: FloatArray, voxel_ml: float, rule: MaskRule) -> BoolArray:
    """Mark what lies above the threshold, and above its component's own level where the rule asks for one.

    What a slice of it encloses belongs to it: a cyst, a core that looks like other tissue.
    """
    above = np.asarray(scores > rule.threshold)
    if rule.slope > 0:
        above &= _above_own_level(scores, above, voxel_ml, rule)
    return filled(above)


def filled(mask: BoolArray) -> BoolArray:
    """Add what ``mask`` encloses in each of its slices."""
    return np.asarray(np.stack([ndimage.binary_fill_holes(plane) if plane.any() else plane for plane in mask]))


def _above_own_level(scores: FloatArray, above: BoolArray, voxel_ml: float, rule: MaskRule) -> BoolArray:
    kept = above.copy()
    labels, _ = ndimage.label(above, structure=np.ones((3, 3, 3)))
    for index, box in enumerate(ndimage.find_objects(labels), start=1):
        component = labels[box] == index
        level = _own_level(scores[box][component], voxel_ml, rule)
        kept[box] &= ~component | (scores[box] > level)
    return kept


def _own_level(scores: FloatArray, voxel_ml: float, rule: MaskRule) -> float:
    count = min(scores.size, max(1, round(PEAK_ML / voxel_ml)))
    peak = min(float(np.partition(scores, scores.size - count)[-count:].mean()), NEARLY_CERTAIN)
    level = 1.0 / (1.0 + math.exp(rule.drop - rule.slope * math.log(peak / (1.0 - peak))))
    return min(HIGHEST_LEVEL, max(rule.threshold, level))


def case_level(scores: FloatArray, spacing_mm: Vector, volume_ml: float) -> float:
    """Give the mean of the highest scores that together fill ``volume_ml``: a few bright voxels alone count little."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    count = min(scores.size, max(1, round(volume_ml / voxel_ml)))
    return float(np.partition(scores, scores.size - count, axis=None)[-count:].mean())
