"""Figures of a classifier, and their intervals from redrawing whole patients. ``n`` items, ``k`` classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import bool_, float64, int64, str_
from numpy.typing import NDArray

from workers.fewshot.gate.evidence import BOOTSTRAPS, SEED

_BINS = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the 2.5th and 97.5th percentile of its bootstrap."""

    value: float
    low: float
    high: float


def patient_weights(patients: NDArray[str_], *, draws: int = BOOTSTRAPS, seed: int = SEED) -> NDArray[float64]:
    """Draw patients with replacement: how often each item counts ``[draws, n]``; items of a patient stay together."""
    names, membership = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=draws)
    return np.asarray(counts[:, membership], dtype=float64)


def share(weights: NDArray[float64], hits: NDArray[bool_], among: NDArray[bool_]) -> NDArray[float64]:
    """Return the weighted share of ``hits`` among ``among`` for each draw ``[draws]``; NaN where a draw has none."""
    total = weights @ among
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (weights @ (hits & among)) / total, np.nan), dtype=float64)


def balanced_accuracy(weights: NDArray[float64], truth: NDArray[int64], chosen: NDArray[int64]) -> NDArray[float64]:
    """Return the mean share found of every class that occurs, for each draw ``[draws]``."""
    found = [share(weights, chosen == label, truth == label) for label in np.unique(truth)]
    return np.asarray(np.nanmean(np.stack(found), axis=0), dtype=float64)


def interval(value: float, draws: NDArray[float64]) -> Estimate:
    """Put a figure and its bootstrap together."""
    kept = draws[np.isfinite(draws)]
    low, high = np.quantile(kept, (0.025, 0.975)) if kept.size else (value, value)
    return Estimate(float(value), float(low), float(high))


def calibration_error(probabilities: NDArray[float64], truth: NDArray[int64]) -> float:
    """Return the expected calibration error of the chosen class over bins of equal mass (Nguyen & O'Connor, 2015)."""
    return _gap(probabilities.max(axis=1), probabilities.argmax(axis=1) == truth)


def calibration_by_chance(probabilities: NDArray[float64], *, draws: int = BOOTSTRAPS, seed: int = SEED) -> float:
    """Return the error that one perfectly calibrated adapter in twenty would exceed with these probabilities.

    Few items give a large error by chance alone (at 60 items about 0.11 on average); the outcomes are drawn anew.
    """
    confidence, rng = probabilities.max(axis=1), np.random.default_rng(seed)
    errors = [_gap(confidence, rng.random(len(confidence)) < confidence) for _ in range(draws)]
    return float(np.quantile(errors, 0.95))


def _gap(confidence: NDArray[float64], right: NDArray[bool_]) -> float:
    order = np.argsort(confidence, kind="stable")
    bins = [part for part in np.array_split(order, min(_BINS, max(1, len(order) // _BINS))) if part.size]
    gaps = [part.size * abs(float(confidence[part].mean()) - float(right[part].mean())) for part in bins]
    return float(sum(gaps) / len(order))


def area_under_curve(scores: NDArray[float64], positive: NDArray[bool_]) -> float:
    """Return the area under the ROC curve; NaN where only one class occurs."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores)) if positive.any() and not positive.all() else float("nan")


def f1_macro(truth: NDArray[int64], chosen: NDArray[int64]) -> float:
    """Return the mean F1 over the classes that occur."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, chosen, labels=np.unique(truth), average="macro", zero_division=0.0))
