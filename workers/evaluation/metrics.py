"""Figures of merit of masks and scores, and their intervals. Arrays are ``[z, y, x]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage, stats

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
BOOTSTRAP_SEED = 0
NEAR = 2
"""Slices this close to a slice with tumour are left out of the count of false alarms."""
SLICE_PIXELS = 60
"""A slice's score is the mean of this many highest voxels."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over patients and its 95 % bootstrap interval."""

    mean: float
    lo: float
    hi: float


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Give 2 |A and B| / (|A| + |B|); two empty masks agree perfectly."""
    total = int(found.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total


def far_slices(truth: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell for each slice whether it lies more than two slices from any slice with tumour."""
    present = np.asarray(truth.any(axis=(1, 2)))
    return ~ndimage.binary_dilation(present, iterations=NEAR) if present.any() else ~present


def false_alarms(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    """Count the slices far from tumour, and those among them that the mask touches: (alarms, slices)."""
    far = far_slices(truth)
    return int((found.any(axis=(1, 2)) & far).sum()), int(far.sum())


def slice_scores(scores: NDArray[np.float32]) -> NDArray[np.float32]:
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


def bootstrap(values: ArrayLike) -> Interval:
    """Give the mean over patients with its percentile interval from resampled patients."""
    values = np.asarray(values, dtype=float)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    lo, hi = np.quantile(means, (0.025, 0.975))
    return Interval(float(values.mean()), float(lo), float(hi))
