"""Search a grid of mask rules for the one that gives the best masks on labelled cases.

A rule draws a level through a score, and then drops some of the connected components above it. The components above
each level are therefore measured once. Which of them a rule keeps, and what its mask is worth, follows from these
measurements without drawing any mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab import metrics
from storage.progress import OnProgress, unheard
from workers.segmentation import edges, grid, mask, random_walk
from workers.segmentation.edges import ImageGreys
from workers.segmentation.mask import MaskRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from storage.volumes import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

ALARM_LIMIT = 0.03
"""Share of tumour-free slices that may carry a mask at no cost."""
ALARM_PRICE = 1.5
"""Dice that a share of alarms of 1 above the limit costs."""
SMOOTHING_MM = 4.5
"""Not searched: it was better than 2.5 and 6 mm on 48 patients, and every further value costs a whole search."""
Level = tuple[float, float, float]
SINGLE_LEVELS: tuple[Level, ...] = tuple((threshold, 0.0, 0.0) for threshold in (0.4, 0.5, 0.6, 0.7, 0.8))
LEVELS: tuple[Level, ...] = (
    *SINGLE_LEVELS,
    *((0.4, *line) for line in ((0.4, 1.2), (0.5, 1.25), (0.5, 1.5), (0.5, 1.75), (0.5, 2.0), (0.7, 2.5))),
    *((0.5, *line) for line in ((0.5, 1.5), (0.5, 2.0))),
)
"""(threshold, slope, drop) of ``MaskRule``: the same level for all components, or one for each by its peak."""
PEAKS = (0.0, 0.8, 0.86, 0.88, 0.9, 0.92, 0.94, 0.96)
VOLUMES_ML = (0.2, 1.0, 2.0)
REACHES_MM = (0.0, 10.0)
"""How far an edge may move to follow the grey; with 0 it stays where the level is."""
SHARES = (0.1, 0.2, 0.35, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A labelled case: score (0..1) and true mask ``[z, y, x]`` on the model's grid, and that grid's spacing (z, y, x).

    ``images`` are the slices that were scored (-1..1); scores spread and edges move along their grey, and stay as they
    are without images. ``spread`` is the score spread along the grey, once that is known.
    """

    score: FloatArray
    truth: BoolArray
    spacing_mm: Vector
    images: FloatArray | None = None
    spread: FloatArray | None = None
    strangers_only: bool = False
    """Whether only components that touch no tumour count as alarms, where a mask may rightly reach beyond the truth."""

    def smoothed(self, smoothing_mm: float) -> Scored:
        """Return the case with its score smoothed across slices."""
        return replace(self, score=mask.smooth_across(self.score, self.spacing_mm[0], smoothing_mm))

    def spread_along(self, greys: ImageGreys | None) -> Scored:
        """Return the case with its score, which must be smoothed, spread along the grey where that is given."""
        return self if greys is None else replace(self, spread=random_walk.spread(self.score, greys, self.spacing_mm))

    def greys(self) -> ImageGreys | None:
        """Return the greys of the case's images, whose score must be smoothed already; None without images."""
        if self.images is None:
            return None
        return edges.image_greys(self.images, grid.skull_masks(self.images), self.score)


@dataclass(frozen=True, slots=True)
class Worth:
    """What a rule gives: mean Dice over the cases, and the share of slices far from any tumour that carry a mask."""

    dice: float
    alarms: float

    @property
    def value(self) -> float:
        """The figure that is maximised: Dice, less the price of the alarms above the limit."""
        return self.dice - ALARM_PRICE * max(0.0, self.alarms - ALARM_LIMIT)


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """The connected components of one case above one level; arrays have one entry for each.

    ``voxels`` (and ``hits``, those among them that are truly tumour) are counted after the component's edge has moved
    along the grey; volume, highest score (``peaks``) and sum of scores (``weights``) before.
    """

    millilitres: NDArray[np.float64]
    peaks: NDArray[np.float64]
    weights: NDArray[np.float64]
    voxels: NDArray[np.float64]
    hits: NDArray[np.float64]
    alarms: BoolArray
    """``[component, slice]``: whether it reaches a slice, of those far from any tumour."""
    truth_voxels: int


SEARCHED_LEVELS = len(LEVELS)
"""How many levels a search tries."""


def choose(
    cases: Sequence[Scored],
    *,
    levels: Sequence[Level] = LEVELS,
    smoothing_mm: float = SMOOTHING_MM,
    on_progress: OnProgress = unheard,
) -> tuple[MaskRule, Worth]:
    """Return the best rule of the grid, and what it gives.

    A case without tumour has Dice 1 while its mask is empty, else 0. Of equally good rules the one with the fewest
    alarms is taken, and of these the one that drops most components beside the weightiest. ``on_progress``
    counts the ``levels``.
    """
    found: list[tuple[MaskRule, Worth]] = []
    spreads = all(case.images is not None for case in cases)
    reaches = REACHES_MM if spreads else REACHES_MM[:1]
    smoothed = [case.smoothed(smoothing_mm) for case in cases]
    greys = [case.greys() for case in smoothed]
    smoothed = [case.spread_along(grey if spreads else None) for case, grey in zip(smoothed, greys, strict=True)]
    for done, (threshold, slope, drop) in enumerate(levels, start=1):
        level = MaskRule(threshold, 0.0, 0.0, smoothing_mm, 0.0, slope, drop, spread=spreads)
        labelled = [_labelled(case, level) for case in smoothed]
        for rule in (replace(level, reach_mm=reach) for reach in reaches):
            parts = zip(smoothed, greys, labelled, strict=True)
            measured = [_measure(case, grey, rule, labels) for case, grey, labels in parts]
            found += [(each, _judge(measured, each)) for each in _with_components(rule)]
        on_progress(done, len(levels))
    return max(found, key=lambda pair: (pair[1].value, -pair[1].alarms, pair[0].share))


def _with_components(level: MaskRule) -> list[MaskRule]:
    """Return every rule of the grid that draws this level."""
    grid = product(PEAKS, VOLUMES_ML, SHARES)
    return [
        replace(level, peak=peak, minimum_ml=volume, share=share)
        for peak, volume, share in grid
        if not peak or peak > level.threshold
    ]


def raised(rule: MaskRule, cases: Sequence[Scored]) -> MaskRule:
    """Return the rule with the peak, its own or a higher one, that is best on ``cases``."""
    measured = [_measured(case, rule) for case in cases]
    higher = (replace(rule, peak=peak) for peak in PEAKS if peak > rule.peak)
    return max((rule, *higher), key=lambda each: _judge(measured, each).value)


def judge(cases: Sequence[Scored], rule: MaskRule) -> Worth:
    """Return what one rule gives on the cases."""
    return _judge([_measured(case, rule) for case in cases], rule)


def _measured(case: Scored, rule: MaskRule) -> _Components:
    smoothed = case.smoothed(rule.smoothing_mm)
    greys = smoothed.greys()
    ended = smoothed.spread_along(greys if rule.spread else None)
    return _measure(ended, greys, rule, _labelled(ended, rule))


def _labelled(case: Scored, level: MaskRule) -> NDArray[np.int32]:
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000.0
    ending = case.score if case.spread is None else case.spread
    labels, _ = ndimage.label(mask.candidates(ending, voxel_ml, level), structure=np.ones((3, 3, 3)))
    return np.asarray(labels, dtype=np.int32)


def _measure(case: Scored, greys: ImageGreys | None, level: MaskRule, labels: NDArray[np.int32]) -> _Components:
    voxel_ml, count = float(np.prod(case.spacing_mm)) / 1000.0, int(labels.max())
    flat = labels.ravel()
    millilitres = np.bincount(flat, minlength=count + 1)[1:].astype(np.float64) * voxel_ml
    weights = np.bincount(flat, weights=case.score.ravel(), minlength=count + 1)[1:].astype(np.float64)
    peaks = np.asarray(ndimage.maximum(case.score, labels, index=np.arange(1, count + 1)), dtype=np.float64)
    voxels, hits = _covered(case, greys, level, labels)
    alarms = _alarms(case, labels, count)
    if case.strangers_only:
        alarms &= (hits == 0)[:, None]
    return _Components(millilitres, peaks, weights, voxels, hits, alarms, int(case.truth.sum()))


def _covered(
    case: Scored, greys: ImageGreys | None, level: MaskRule, labels: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each component how many voxels it covers once its edge has moved, and how many of them are true."""
    follows = greys is not None and level.reach_mm > 0
    margin = edges.margin(case.spacing_mm, level.reach_mm) if follows else 0
    voxels, hits = [], []
    for box, component in edges.components(labels, margin=margin):
        covered = component
        if greys is not None and follows:
            reach = level.reach_mm / case.spacing_mm[1]
            covered = edges.moved_edge(component, case.score, greys, box=box, reach=reach)
        voxels.append(np.count_nonzero(covered))
        hits.append(np.count_nonzero(covered & case.truth[box]))
    return np.asarray(voxels, dtype=np.float64), np.asarray(hits, dtype=np.float64)


def _alarms(case: Scored, labels: NDArray[np.int32], count: int) -> BoolArray:
    far = np.flatnonzero(metrics.far_slices(case.truth))
    alarms = np.zeros((count, len(far)), dtype=bool)
    for column, z in enumerate(far):
        reached = np.unique(labels[z])
        alarms[reached[reached > 0] - 1, column] = True
    return alarms


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
