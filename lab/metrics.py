"""Figures of merit of one case's mask and scores. Arrays are ``[z, y, x]``; ``docs/evaluation.md`` defines each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, stats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]

NEAR = 2
"""Slices this close to a slice with tumour are left out of the count of false alarms."""
SLICE_PIXELS = 60
"""A slice's score is the mean of this many highest voxels."""
LESION_SHARE = 0.1
"""A lesion counts as found when the mask covers this share of it."""


@dataclass(frozen=True, slots=True)
class LesionCount:
    """Connected lesions of the truth, how many of them were found, and found ones that touch none of them."""

    lesions: int
    found: int
    false: int


def dice(found: BoolArray, truth: BoolArray) -> float:
    """Give 2 |A and B| / (|A| + |B|); two empty masks agree perfectly."""
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total


def count_lesions(found: BoolArray, truth: BoolArray) -> LesionCount:
    """Match the connected components (26 neighbours) of both masks."""
    structure = np.ones((3, 3, 3))
    labels, count = ndimage.label(truth, structure)
    covered = np.bincount(labels[found], minlength=count + 1)[1:]
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    drawn, components = ndimage.label(found, structure)
    touching = len(np.setdiff1d(np.unique(drawn[truth]), [0]))
    return LesionCount(count, int((covered >= LESION_SHARE * sizes).sum()), components - touching)


def far_slices(truth: BoolArray) -> BoolArray:
    """Tell for each slice whether it lies more than two slices from any slice with tumour."""
    present = np.asarray(truth.any(axis=(1, 2)))
    return ~ndimage.binary_dilation(present, iterations=NEAR) if present.any() else ~present


def false_alarms(found: BoolArray, truth: BoolArray) -> tuple[int, int]:
    """Count the slices far from tumour, and those among them that the mask touches: (alarms, slices)."""
    far = far_slices(truth)
    return int((found.any(axis=(1, 2)) & far).sum()), int(far.sum())


def slice_scores(scores: FloatArray) -> FloatArray:
    """Give each slice the mean of its highest scores."""
    flat = scores.reshape(len(scores), -1)
    count = min(SLICE_PIXELS, flat.shape[1])
    return np.asarray(np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:].mean(axis=1), dtype=np.float32)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Give the chance that a positive scores above a negative (ties count half); None where one sort is missing."""
    scores, labels = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives == 0 or negatives == 0:
        return None
    ranks = stats.rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Give the area under the precision-recall curve as a sum of steps; None where nothing is positive.

    Equal scores are one step of the curve, so the order of ties does not matter. Only steps that reach a positive add
    to the area.
    """
    scores, labels = np.ravel(np.asarray(scores)), np.ravel(np.asarray(labels)).astype(bool)
    levels, marked = np.unique(scores[labels], return_counts=True)
    if not len(levels):
        return None
    hits = np.cumsum(marked[::-1])[::-1]
    taken = len(scores) - np.searchsorted(np.sort(scores), levels, side="left")
    return float((marked * hits / taken).sum() / labels.sum())
