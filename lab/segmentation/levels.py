"""The Dice at every threshold of a score at once: scores are rounded to 255 steps, so that counting is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Steps = NDArray[np.uint8]

TOP = 255
EQUAL = 1e-9


def in_steps(scores: NDArray[np.float32]) -> Steps:
    """Return scores in 0..1 as whole steps 0..255."""
    return np.asarray(np.rint(np.clip(scores, 0.0, 1.0) * TOP), dtype=np.uint8)


def dice_curve(steps: Steps, truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the Dice of ``steps > level`` for every level 0..255; at the last one the mask is empty."""
    above = _count_above(steps.ravel())
    hits = _count_above(steps[truth])
    total = above + int(truth.sum())
    curve: NDArray[np.float64] = np.divide(2.0 * hits, total, out=np.ones(TOP + 1), where=total > 0)
    return curve


def best_level(curves: Sequence[NDArray[np.float64]], patients: Sequence[str]) -> int:
    """Return the one level with the highest mean Dice over patients; of equally good ones the middle one."""
    stacked, owners = np.stack(curves), np.asarray(patients)
    means = [stacked[owners == patient].mean(axis=0) for patient in np.unique(owners)]
    overall = np.mean(means, axis=0)
    best = np.flatnonzero(overall >= overall.max() - EQUAL)
    return int(best[len(best) // 2])


def _count_above(values: Steps) -> NDArray[np.int64]:
    """Return how many values lie above each level, ``[256]``."""
    counts = np.bincount(values, minlength=TOP + 1)
    return np.asarray(len(values) - np.cumsum(counts), dtype=np.int64)
