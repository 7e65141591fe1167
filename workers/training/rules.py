"""Search for the mask rule that serves labelled cases best.

A rule only decides which connected components stay, so the components of each level are measured once and hundreds
of rules are judged on those measurements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from workers.evaluation import metrics
from workers.segmentation import refine
from workers.segmentation.refine import MaskRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from storage.domain import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

ALARM_LIMIT = 0.03
"""Share of tumour-free slices that may alarm before a rule pays for it."""
ALARM_PRICE = 1.5
HEALTHY_MARGIN = 0.04
"""How far a component's peak and the middle of the case score lie above the highest that is reached without tumour."""
SMOOTHINGS_MM = (2.5, 4.5)
LEVELS = (
    *((threshold, 0.0, 0.0) for threshold in (0.4, 0.5, 0.6, 0.7, 0.8)),
    *((0.2, *line) for line in ((0.35, 1.5), (0.5, 1.5), (0.5, 2.0), (0.5, 2.5))),
    *((0.4, *line) for line in ((0.5, 1.5), (0.7, 2.5), (0.7, 3.0), (0.85, 3.5))),
)
"""Threshold, slope and drop: one level for all, or one for each component."""
PEAKS = (0.0, 0.8, 0.9, 0.93, 0.96)
VOLUMES_ML = (0.2, 1.0, 2.0)
SHARES = (0.1, 0.2, 0.35, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One labelled case: its score and its truth ``[z, y, x]`` on the model's grid, with that grid's spacing."""

    score: FloatArray
    truth: BoolArray
    spacing_mm: Vector


@dataclass(frozen=True, slots=True)
class Worth:
    """What a rule is worth: mean Dice, less the price of too many false alarms."""

    dice: float
    alarms: float

    @property
    def value(self) -> float:
        """Dice less the price of alarms above the limit."""
        return self.dice - ALARM_PRICE * max(0.0, self.alarms - ALARM_LIMIT)


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """The connected components of one case above one level; arrays have one entry per component."""

    millilitres: NDArray[np.float64]
    peaks: NDArray[np.float64]
    weights: NDArray[np.float64]
    voxels: NDArray[np.float64]
    hits: NDArray[np.float64]
    alarms: BoolArray
    """``[component, far slice]``: which slices far from any tumour a component reaches."""
    truth_voxels: int


def choose(cases: Sequence[Scored], healthy: Sequence[Scored] = ()) -> tuple[MaskRule, Worth]:
    """Find the best rule of the grid, with peaks that lie above what the ``healthy`` cases reach, by a margin."""
    found: list[tuple[MaskRule, Worth]] = []
    for smoothing in SMOOTHINGS_MM:
        smoothed = [
            replace(case, score=refine.smooth_across(case.score, case.spacing_mm[0], smoothing)) for case in cases
        ]
        needed = least_peak(healthy, smoothing)
        for threshold, slope, drop in LEVELS:
            level = MaskRule(threshold, 0.0, 0.0, smoothing, 0.0, slope, drop)
            measured = [_measure(case, level) for case in smoothed]
            for peak, volume, share in product(sorted({max(peak, needed) for peak in PEAKS}), VOLUMES_ML, SHARES):
                if peak and peak <= threshold:
                    continue
                rule = replace(level, peak=peak, minimum_ml=volume, share=share)
                found.append((rule, _judge(measured, rule)))
    return max(found, key=lambda pair: pair[1].value)


def least_peak(healthy: Sequence[Scored], smoothing_mm: float) -> float:
    """Tell what peak a component needs so that no ``healthy`` case has one like it; 0 where there are none."""
    reached = [refine.smooth_across(case.score, case.spacing_mm[0], smoothing_mm).max() for case in healthy]
    return round(float(max(reached)) + HEALTHY_MARGIN, 2) if reached else 0.0


def judge(cases: Sequence[Scored], rule: MaskRule) -> Worth:
    """Judge one rule."""
    smoothed = [
        replace(case, score=refine.smooth_across(case.score, case.spacing_mm[0], rule.smoothing_mm)) for case in cases
    ]
    return _judge([_measure(case, rule) for case in smoothed], rule)


def _measure(case: Scored, level: MaskRule) -> _Components:
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000.0
    labels, count = ndimage.label(refine.candidates(case.score, voxel_ml, level), structure=np.ones((3, 3, 3)))
    flat = labels.ravel()
    voxels = np.bincount(flat, minlength=count + 1)[1:].astype(np.float64)
    weights = np.bincount(flat, weights=case.score.ravel(), minlength=count + 1)[1:].astype(np.float64)
    hits = np.bincount(flat[case.truth.ravel()], minlength=count + 1)[1:].astype(np.float64)
    peaks = np.asarray(ndimage.maximum(case.score, labels, index=np.arange(1, count + 1)), dtype=np.float64)
    far = np.flatnonzero(metrics.far_slices(case.truth))
    alarms = np.zeros((count, len(far)), dtype=bool)
    for column, z in enumerate(far):
        reached = np.unique(labels[z])
        alarms[reached[reached > 0] - 1, column] = True
    return _Components(voxels * voxel_ml, peaks, weights, voxels, hits, alarms, int(case.truth.sum()))


def _judge(measured: Sequence[_Components], rule: MaskRule) -> Worth:
    dices, alarms, far = [], 0, 0
    for case in measured:
        keep = (case.millilitres >= rule.minimum_ml) & (case.peaks > rule.peak)
        if keep.any():
            keep &= case.weights >= rule.share * case.weights[keep].max()
        marked = case.voxels[keep].sum() + case.truth_voxels
        dices.append(2.0 * case.hits[keep].sum() / marked if marked else 1.0)
        alarms += int(case.alarms[keep].any(axis=0).sum())
        far += case.alarms.shape[1]
    return Worth(float(np.mean(dices)), alarms / max(1, far))
