"""Figures over patients with 95 % bootstrap intervals: patients are drawn again, with replacement and a fixed seed.

Every case belongs to a patient, and one patient's cases are always drawn together: they resemble one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

RESAMPLES = 2000
BOOTSTRAP_SEED = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % bootstrap interval over patients."""

    mean: float
    lo: float
    hi: float


def bootstrap(values: ArrayLike) -> Estimate:
    """Return the mean of ``values``, one for each patient, with its interval."""
    values = np.asarray(values, dtype=float)
    return _interval(float(values.mean()), draws(len(values)) @ values / len(values))


def mean_interval(values: Sequence[float | None], patients: Sequence[str]) -> Estimate | None:
    """Return the mean over patients of each one's mean over cases; None where no case has a value."""
    known = [(patient, value) for patient, value in zip(patients, values, strict=True) if value is not None]
    if not known:
        return None
    number = _numbers([patient for patient, _ in known])
    sums = np.bincount(number, weights=[value for _, value in known])
    return bootstrap(sums / np.bincount(number))


def share_interval(parts: Sequence[int], wholes: Sequence[int], patients: Sequence[str]) -> Estimate | None:
    """Return the sum of all ``parts`` over the sum of all ``wholes``; None where every whole is 0."""
    number = _numbers(patients)
    part, whole = np.bincount(number, weights=parts), np.bincount(number, weights=wholes)
    if not whole.any():
        return None
    drawn = draws(len(whole))
    with np.errstate(invalid="ignore"):
        return _interval(float(part.sum() / whole.sum()), (drawn @ part) / (drawn @ whole))


def auroc_interval(
    scores: Sequence[NDArray[np.floating[Any]]], labels: Sequence[NDArray[np.bool_]], patients: Sequence[str]
) -> Estimate | None:
    """Return the probability that a positive scores above a negative, ties counting half, pooled over all cases.

    ``scores[i]`` and ``labels[i]`` belong to case ``i``. None without any positive, or without any negative.
    """
    number = _numbers(patients)
    groups = [np.flatnonzero(number == patient) for patient in range(int(number.max()) + 1)]
    pooled = [(_joined(scores, group), _joined(labels, group).astype(bool)) for group in groups]
    positives = np.array([int(marked.sum()) for _, marked in pooled])
    negatives = np.array([len(marked) for _, marked in pooled]) - positives
    if not positives.any() or not negatives.any():
        return None
    wins = _wins(pooled)
    drawn = draws(len(groups))
    pairs = (drawn @ positives) * (drawn @ negatives)
    with np.errstate(invalid="ignore"):
        resampled = ((drawn @ wins) * drawn).sum(axis=1) / pairs
    return _interval(float(wins.sum() / (positives.sum() * negatives.sum())), resampled)


def draws(patients: int) -> FloatArray:
    """Return how often each patient is drawn in each resample, ``[resample, patient]``."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = rng.integers(0, patients, (RESAMPLES, patients))
    counts = np.zeros((RESAMPLES, patients))
    np.add.at(counts, (np.arange(RESAMPLES)[:, None], drawn), 1.0)
    return counts


def _wins(pooled: Sequence[tuple[FloatArray, NDArray[np.bool_]]]) -> FloatArray:
    """Return how often a positive of one patient scores above a negative of another, ``[patient, patient]``.

    From these counts follows the AUROC of every resample without sorting its scores anew.
    """
    ordered = [np.sort(scores[~marked]) for scores, marked in pooled]
    wins = np.empty((len(pooled), len(pooled)))
    for row, (scores, marked) in enumerate(pooled):
        for column, negatives in enumerate(ordered):
            below = np.searchsorted(negatives, scores[marked], side="left")
            not_above = np.searchsorted(negatives, scores[marked], side="right")
            wins[row, column] = (below + not_above).sum() / 2.0
    return wins


def _interval(mean: float, resampled: FloatArray) -> Estimate:
    """Return the interval that holds the middle 95 % of the resamples in which the figure exists."""
    lo, hi = np.nanquantile(resampled, (0.025, 0.975))
    return Estimate(mean, float(lo), float(hi))


def _numbers(patients: Sequence[str]) -> NDArray[np.intp]:
    """Return each case's patient as a number from 0."""
    return np.asarray(np.unique(np.asarray(patients), return_inverse=True)[1], dtype=np.intp)


def _joined(arrays: Sequence[NDArray[np.generic]], chosen: NDArray[np.intp]) -> FloatArray:
    return np.concatenate([np.asarray(arrays[index], dtype=float) for index in chosen])
