"""Accuracy, macro F1 and AUROC, each with a 95 % interval that draws whole patients and whole seeds anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import bool_, float64, intp
from numpy.typing import NDArray

from workers.fewshot.contracts import Vectors

REPLICATES = 400
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """What one seed's head said of its test pictures; ``targets`` and columns are places in the list of classes."""

    targets: NDArray[intp]
    probabilities: Vectors
    groups: NDArray[intp]
    """Number of the patient of each picture."""

    def part(self, keep: NDArray[bool_]) -> Predicted:
        """Return the outcome of some of the pictures."""
        return Predicted(self.targets[keep], self.probabilities[keep], self.groups[keep])


Score = Callable[[Predicted, NDArray[float64]], NDArray[float64]]
"""From an outcome and weights ``[r, n]`` of its pictures to one value for each row of weights."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean over seeds with its 95 % interval; None where it is not defined, as AUROC is for one class."""

    mean: float | None
    lo: float | None
    hi: float | None


@dataclass(frozen=True, slots=True)
class Measures:
    """The three figures of one run or one subgroup, and how many test pictures they rest on (mean over seeds)."""

    pictures: float
    accuracy: Figure
    f1: Figure
    auroc: Figure


def measure(outcomes: Sequence[Predicted], *, seed: int = 0) -> Measures:
    """Measure the outcomes of several seeds."""
    held = [one for one in outcomes if len(one.targets)]
    return Measures(
        float(np.mean([len(one.targets) for one in outcomes])) if outcomes else 0.0,
        figure(held, accuracy, seed=seed),
        figure(held, macro_f1, seed=seed),
        figure(held, macro_auroc, seed=seed),
    )


def figure(outcomes: Sequence[Predicted], score: Score, *, seed: int) -> Figure:
    """Return the mean of a score over seeds, and its percentile interval."""
    scores = np.array([score(one, np.ones((1, len(one.targets))))[0] for one in outcomes])
    if not len(scores) or np.isnan(scores).all():
        return Figure(None, None, None)
    rng = np.random.default_rng([seed, 3])
    redrawn = np.stack([score(one, _weights(one.groups, rng)) for one in outcomes])
    chosen = rng.integers(len(outcomes), size=(len(outcomes), REPLICATES))
    means = np.take_along_axis(redrawn, chosen, axis=0).mean(axis=0)
    mean = float(np.nanmean(scores))
    if np.isnan(means).all():
        return Figure(mean, None, None)
    lo, hi = np.nanpercentile(means, _INTERVAL)
    return Figure(mean, float(lo), float(hi))


def accuracy(outcome: Predicted, weights: NDArray[float64]) -> NDArray[float64]:
    """Return for each row of weights the share of pictures whose most probable label is right."""
    right = outcome.probabilities.argmax(axis=1) == outcome.targets
    return np.asarray(weights @ right / weights.sum(axis=1))


def macro_f1(outcome: Predicted, weights: NDArray[float64]) -> NDArray[float64]:
    """Return for each row of weights the mean F1 over the labels that it holds."""
    given, scores = outcome.probabilities.argmax(axis=1), []
    for target in np.unique(outcome.targets):
        guessed, true = given == target, outcome.targets == target
        there = weights @ true
        score = 2 * (weights @ (guessed & true)) / np.maximum(weights @ guessed + there, 1e-9)
        scores.append(np.where(there > 0, score, np.nan))
    return _mean_of_defined(scores)


def macro_auroc(outcome: Predicted, weights: NDArray[float64]) -> NDArray[float64]:
    """Return for each row of weights the mean area under the curve, each label against the rest; NaN for one label."""
    there = np.unique(outcome.targets)
    return _mean_of_defined(
        [_area(outcome.probabilities[:, target], outcome.targets == target, weights) for target in there]
    )


def _area(scores: NDArray[np.floating], positive: NDArray[bool_], weights: NDArray[float64]) -> NDArray[float64]:
    """Return the weighted share of pairs in which the positive one scores higher; equal scores count half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    ours, others = (np.add.reduceat((weights * side)[:, order], starts, axis=1) for side in (positive, ~positive))
    below = np.cumsum(others, axis=1) - others / 2
    pairs = ours.sum(axis=1) * others.sum(axis=1)
    return np.where(pairs > 0, (ours * below).sum(axis=1) / np.maximum(pairs, 1e-9), np.nan)


def _mean_of_defined(scores: Sequence[NDArray[float64]]) -> NDArray[float64]:
    stacked = np.stack(scores)
    defined = ~np.isnan(stacked)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    return np.where(defined.any(axis=0), total / np.maximum(defined.sum(axis=0), 1), np.nan)


def _weights(groups: NDArray[intp], rng: np.random.Generator) -> NDArray[float64]:
    """Draw whole patients with replacement: how often each picture ``[REPLICATES, n]`` is then in the test."""
    names, places = np.unique(groups, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=REPLICATES)
    return np.asarray(drawn[:, places], dtype=float64)
