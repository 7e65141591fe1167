"""Accuracy, macro F1 and AUROC, each with a 95 % interval that draws whole patients and whole seeds anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import bool_, float64, intp
from numpy.typing import NDArray

from workers.classification.contracts import Vectors

REPLICATES = 200
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one seed's head said of its test pictures; ``targets`` and columns are places in the list of classes."""

    targets: NDArray[intp]
    probabilities: Vectors
    groups: NDArray[intp]
    """Number of the patient of each picture."""

    def part(self, keep: NDArray[bool_]) -> Outcome:
        """Return the outcome of some of the pictures."""
        return Outcome(self.targets[keep], self.probabilities[keep], self.groups[keep])


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


def measure(outcomes: Sequence[Outcome], *, seed: int = 0) -> Measures:
    """Measure the outcomes of several seeds."""
    held = [one for one in outcomes if len(one.targets)]
    return Measures(
        float(np.mean([len(one.targets) for one in outcomes])) if outcomes else 0.0,
        figure(held, accuracy, seed=seed),
        figure(held, macro_f1, seed=seed),
        figure(held, macro_auroc, seed=seed),
    )


def figure(outcomes: Sequence[Outcome], score: Callable[[Outcome], float], *, seed: int) -> Figure:
    """Return the mean of a score over seeds, and its percentile interval."""
    scores = [score(one) for one in outcomes]
    if not scores or np.isnan(scores).all():
        return Figure(None, None, None)
    rng = np.random.default_rng([seed, 3])
    places = [_places(one.groups) for one in outcomes]
    means = [_replicate(outcomes, places, score, rng) for _ in range(REPLICATES)]
    mean = float(np.nanmean(scores))
    if np.isnan(means).all():
        return Figure(mean, None, None)
    lo, hi = np.nanpercentile(means, _INTERVAL)
    return Figure(mean, float(lo), float(hi))


def accuracy(outcome: Outcome) -> float:
    """Return the share of pictures whose most probable label is right."""
    return float(np.mean(outcome.probabilities.argmax(axis=1) == outcome.targets))


def macro_f1(outcome: Outcome) -> float:
    """Return the mean F1 over the labels that the test holds."""
    given = outcome.probabilities.argmax(axis=1)
    scores = []
    for target in np.unique(outcome.targets):
        hits = np.count_nonzero((given == target) & (outcome.targets == target))
        scores.append(2 * hits / (np.count_nonzero(given == target) + np.count_nonzero(outcome.targets == target)))
    return float(np.mean(scores))


def macro_auroc(outcome: Outcome) -> float:
    """Return the mean area under the curve of each label against the rest; NaN where only one label is there."""
    there = np.unique(outcome.targets)
    if len(there) < 2:  # noqa: PLR2004 - a curve needs what to tell apart
        return float("nan")
    return float(np.mean([_area(outcome.probabilities[:, target], outcome.targets == target) for target in there]))


def _area(scores: NDArray[np.floating], positive: NDArray[bool_]) -> float:
    count = np.count_nonzero(positive)
    ranks = _ranks(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(scores) - count)))


def _ranks(scores: NDArray[np.floating]) -> NDArray[float64]:
    """Rank from 1, equal scores by the mean of their ranks."""
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=float64)


def _places(groups: NDArray[intp]) -> list[NDArray[intp]]:
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _replicate(
    outcomes: Sequence[Outcome],
    places: Sequence[Sequence[NDArray[intp]]],
    score: Callable[[Outcome], float],
    rng: np.random.Generator,
) -> float:
    scores = []
    for seed in rng.integers(len(outcomes), size=len(outcomes)):
        drawn = rng.integers(len(places[seed]), size=len(places[seed]))
        rows = np.concatenate([places[seed][group] for group in drawn])
        one = outcomes[seed]
        scores.append(score(Outcome(one.targets[rows], one.probabilities[rows], one.groups[rows])))
    return float(np.mean(scores))
