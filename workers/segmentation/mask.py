"""From a score map to a mask: smoothing across slices, thresholds, components, edges. Arrays are ``[z, y, x]``."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from workers.segmentation.edges import fill_holes, follow_grey, image_greys
from workers.segmentation.random_walk import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector
    from workers.segmentation.grid import ModelStack

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

PEAK_ML = 0.5
"""The peak that sets a component's own level is the mean of its highest scores that together fill this volume."""
HIGHEST_LEVEL = 0.97
"""Upper limit of a component's own level."""
NEARLY_CERTAIN = 1.0 - 1e-4
"""Peaks are cut here, so that their log-odds stay finite."""
WHOLE_STACK = 8
"""Fewest slices of a stack that is taken to end outside any lesion."""


@dataclass(frozen=True, slots=True)
class MaskRule:
    """When a score becomes a mask. Every number is fixed on tuning data, none on the image at hand.

    A voxel belongs to the mask above ``threshold``. A component is kept when its peak exceeds ``peak``, its volume is
    at least ``minimum_ml``, and the sum of its scores is at least ``share`` of the largest such sum. ``smoothing_mm``
    is the standard deviation of the Gaussian across slices.

    With ``slope`` above 0 each component has a level of its own, at least ``threshold``: in log-odds, ``slope`` times
    its peak less ``drop``. The edge of a certain component then lies at a higher score than that of a faint one.

    With ``spread`` a component ends where the spread score (``random_walk``) does. Peak and sum are still taken from
    the score itself.

    With ``reach_mm`` above 0 the edges of kept components follow the image's grey (``edges``).
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
    """Return scores smoothed along ``z``, with a deviation of at most four slices.

    Beyond the ends of a stack the score is taken to be 0: what its last slice alone shows is confirmed by no neighbour.
    A stack of fewer than ``WHOLE_STACK`` slices is continued by its last slice instead, or little of it would be kept.
    """
    if len(scores) == 1 or smoothing_mm <= 0:
        return scores
    sigma = min(4.0, smoothing_mm / spacing_z_mm)
    beyond: Literal["constant", "nearest"] = "constant" if len(scores) >= WHOLE_STACK else "nearest"
    return np.asarray(ndimage.gaussian_filter1d(scores, sigma, axis=0, mode=beyond), dtype=np.float32)


def draw_mask(rule: MaskRule, stack: ModelStack, *, score: FloatArray, on_volume: FloatArray) -> BoolArray:
    """Return the mask of a score on the volume's grid in canonical axes.

    ``score`` is the smoothed score on the model's grid, ``on_volume`` the same on the volume's.
    """
    if on_volume.max() <= rule.peak:
        return np.zeros(on_volume.shape, dtype=bool)
    grid, spacing_mm = stack.grid, stack.grid.orientation.spacing_mm
    greys = image_greys(stack.images, stack.skull, score)
    spread_score = grid.to_volume(spread(score, greys, grid.spacing_mm)) if rule.spread else None
    labels = kept_components(on_volume, spacing_mm, rule, spread=spread_score)
    if rule.reach_mm <= 0 or not labels.any():
        return labels > 0
    greys_on_volume = replace(greys, grey=grid.to_volume(greys.grey))
    return follow_grey(labels, on_volume, greys_on_volume, spacing_mm=spacing_mm, reach_mm=rule.reach_mm)


def kept_components(
    scores: FloatArray, spacing_mm: Vector, rule: MaskRule, *, spread: FloatArray | None = None
) -> NDArray[np.int32]:
    """Return the labels of the components that are certain and large enough; 0 is background, numbers have gaps.

    Where the ``spread`` score is given, of the same shape, it is the one that is thresholded.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    above = candidates(scores if spread is None else spread, voxel_ml, rule)
    labels, count = ndimage.label(above, structure=np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros(scores.shape, dtype=np.int32)
    large = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml >= rule.minimum_ml
    certain = np.asarray(ndimage.maximum(scores, labels, index=np.arange(count + 1))) > rule.peak
    keep = large & certain
    keep[0] = False
    weight = np.bincount(labels.ravel(), weights=scores.ravel(), minlength=count + 1) * keep
    keep &= weight >= rule.share * weight.max()
    return np.where(keep[labels], labels, 0).astype(np.int32)


def to_mask(scores: FloatArray, spacing_mm: Vector, rule: MaskRule, *, spread: FloatArray | None = None) -> BoolArray:
    """Return the mask of all kept components, see ``kept_components``."""
    return kept_components(scores, spacing_mm, rule, spread=spread) > 0


def candidates(scores: FloatArray, voxel_ml: float, rule: MaskRule) -> BoolArray:
    """Return what lies above the threshold, and above its component's own level where the rule has a slope.

    What a component encloses in a slice belongs to it, such as a cyst, or a core that looks like other tissue.
    """
    above = np.asarray(scores > rule.threshold)
    if rule.slope > 0:
        above &= _above_own_level(scores, above, voxel_ml, rule)
    return fill_holes(above)


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
    """Return the mean of the highest scores that together fill ``volume_ml``, so that few voxels alone count little."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    count = min(scores.size, max(1, round(volume_ml / voxel_ml)))
    return float(np.partition(scores, scores.size - count, axis=None)[-count:].mean())
