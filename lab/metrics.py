"""Figures of merit of one case's mask and scores. Arrays are ``[z, y, x]``; ``docs/evaluation.md`` defines each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]

NEAR = 2
"""Slices at most this far from a slice with tumour are left out of the count of false alarms."""
SLICE_PIXELS = 60
"""A slice's score is the mean of this many highest voxels."""
LESION_SHARE = 0.1
"""A lesion counts as found when the mask covers this share of it."""


@dataclass(frozen=True, slots=True)
class LesionCount:
    """How many connected lesions the truth holds, how many of them were found, and how many components touch none."""

    lesions: int
    found: int
    false: int


def dice(found: BoolArray, truth: BoolArray) -> float:
    """Return 2 |A and B| / (|A| + |B|); 1 for two empty masks."""
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total


def count_lesions(found: BoolArray, truth: BoolArray) -> LesionCount:
    """Return how the connected components (26 neighbours) of both masks match."""
    structure = np.ones((3, 3, 3))
    labels, count = ndimage.label(truth, structure)
    covered = np.bincount(labels[found], minlength=count + 1)[1:]
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    drawn, components = ndimage.label(found, structure)
    touching = len(np.setdiff1d(np.unique(drawn[truth]), [0]))
    return LesionCount(count, int((covered >= LESION_SHARE * sizes).sum()), components - touching)


def far_slices(truth: BoolArray) -> BoolArray:
    """Return for each slice whether it lies more than two slices from any slice with tumour, ``[z]``."""
    present = np.asarray(truth.any(axis=(1, 2)))
    return ~ndimage.binary_dilation(present, iterations=NEAR) if present.any() else ~present


def false_alarms(found: BoolArray, truth: BoolArray) -> tuple[int, int]:
    """Return (alarms, slices): the slices far from any tumour, and how many of them the mask touches."""
    far = far_slices(truth)
    return int((found.any(axis=(1, 2)) & far).sum()), int(far.sum())


def slice_scores(scores: FloatArray) -> FloatArray:
    """Return the mean of each slice's highest scores, ``[z]``."""
    flat = scores.reshape(len(scores), -1)
    count = min(SLICE_PIXELS, flat.shape[1])
    return np.asarray(np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:].mean(axis=1), dtype=np.float32)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the probability that a positive scores above a negative, ties counting half; None without one of both."""
    labels = np.asarray(labels, dtype=bool)
    if labels.all() or not labels.any():
        return None
    return float(roc_auc_score(labels, scores))


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Return the area under the precision-recall curve as a sum of its steps; None without any positive.

    Equal scores are one step of the curve, so their order does not matter.
    """
    scores, labels = np.ravel(np.asarray(scores)), np.ravel(np.asarray(labels)).astype(bool)
    if not labels.any():
        return None
    # Below the lowest positive the curve gains no area; leaving those scores out saves sorting most of a volume.
    kept = scores >= scores[labels].min()
    return float(average_precision_score(labels[kept], scores[kept]))
