"""The heads that an adapter may have: prototypes, logistic regression, Tip-Adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from numpy import float32, float64
from numpy.typing import NDArray

from workers.fewshot.contracts import Head, Vectors
from workers.fewshot.fitted_heads import CacheHead, LinearHead
from workers.fewshot.support import Support

TEMPERATURE = 0.2
"""Of the cosines to the prototypes."""
STRENGTH = 10.0
"""Inverse of the regularisation, C in the literature; fixed: a few examples leave none to tune on."""
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_ITERATIONS = 500
_LEAST_SQUARE = 1e-12
"""Share of the largest squared length below which a direction is rounding and no part of the span."""
_MOST_LEFT_OUT = 20
"""Most patients left out in turn where the strength is tuned."""
SHARPNESS = 5.5
"""beta of Tip-Adapter."""
CACHE_WEIGHT = 1.0
"""alpha of Tip-Adapter."""
CACHE_TEMPERATURE = 0.05


class Prototypes:
    """The mean of each class's centred unit vectors; cosine similarity decides (Snell et al., 2017).

    The head for one to four examples of a class.
    """

    name = "prototypes"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> LinearHead:
        """Fit; the seed plays no part."""
        del seed
        support = Support.of(vectors, labels, groups)
        space = support.space(standardise=False)
        means = support.means(space.place(support.vectors))
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        weight, bias = np.asarray(means / TEMPERATURE, dtype=float32), np.zeros(len(means), dtype=float32)
        return LinearHead(support.classes, space.centre, space.scale, weight, bias)


class Logistic:
    """L2-regularised logistic regression on centred, standardised unit vectors, with a fixed strength.

    The head for eight examples of a class and more.
    """

    name = "logistic"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> LinearHead:
        """Fit; the seed plays no part, the problem has one optimum."""
        del seed
        return fit_logistic(Support.of(vectors, labels, groups), strength=STRENGTH)


class TunedLogistic:
    """Logistic regression with its strength chosen by leaving one patient out, inside the support set alone."""

    name = "logistic-tuned"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> LinearHead:
        """Fit; the seed chooses the patients that are left out where there are more than twenty."""
        support = Support.of(vectors, labels, groups)
        drawn = np.random.default_rng(seed).permutation(sorted(set(support.groups)))[:_MOST_LEFT_OUT]
        losses = [_held_out_loss(support, [str(group) for group in drawn], strength) for strength in STRENGTHS]
        return fit_logistic(support, strength=STRENGTHS[int(np.argmin(losses))])


def fit_logistic(support: Support, *, strength: float) -> LinearHead:
    """Fit in the span of the support vectors, which has the same optimum and is far smaller for long vectors."""
    from threadpoolctl import threadpool_limits

    # Sums in another order differ in their last bits: one thread gives the same bytes on any machine.
    with threadpool_limits(limits=1):
        space = support.space(standardise=True)
        placed = space.place(support.vectors)
        basis = _basis(placed)
        coefficients, intercepts = _solve(placed @ basis.T, support, strength)
        weight = np.asarray(coefficients @ basis, dtype=float32)
    return LinearHead(support.classes, space.centre, space.scale, weight, np.asarray(intercepts, dtype=float32))


def _basis(placed: NDArray[float64]) -> NDArray[float64]:
    """Return orthonormal rows ``[r, d]`` that span the vectors.

    From the eigenvectors of their products with one another: an eighth of the time that a decomposition of long
    vectors takes.
    """
    if placed.shape[0] >= placed.shape[1]:
        return np.eye(placed.shape[1])
    squares, turns = np.linalg.eigh(placed @ placed.T)
    kept = squares > _LEAST_SQUARE * squares[-1]
    return np.asarray((turns[:, kept] / np.sqrt(squares[kept])).T @ placed)


def _solve(placed: NDArray[float64], support: Support, strength: float) -> tuple[NDArray[float64], NDArray[float64]]:
    from sklearn.linear_model import LogisticRegression

    solver = LogisticRegression(C=strength, max_iter=_ITERATIONS, class_weight="balanced")
    solver.fit(placed, support.targets)
    weight, bias = np.asarray(solver.coef_), np.asarray(solver.intercept_)
    if len(support.classes) == 2:  # noqa: PLR2004 - for two classes the library gives one row, that of the second
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _held_out_loss(support: Support, groups: Sequence[str], strength: float) -> float:
    """Return the mean negative log-likelihood of the patients left out in turn; infinite where none can be."""
    losses = []
    for group in groups:
        rest = support.without(group)
        if rest is None:
            continue
        out = np.array([other == group for other in support.groups])
        given = fit_logistic(rest, strength=strength).predict_proba(support.vectors[out])
        losses.extend(-np.log(np.maximum(given[np.arange(len(given)), support.targets[out]], 1e-6)))
    # Where no patient can be left out (one of each class), every strength is as good: the fixed one then wins.
    return float(np.mean(losses)) if losses else abs(float(np.log(strength / STRENGTH)))


class TipAdapter:
    """The support vectors themselves are the classifier; nothing is trained (Tip-Adapter, Zhang et al., 2022).

    Written from the paper: ``logits = text + alpha * exp(-beta (1 - f . K)) . L``, here without the first term, which
    needs a text tower. Votes are divided by the size of their class, so that a frequent class does not win by number.
    """

    name = "tip-adapter"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> CacheHead:
        """Keep the support set as keys; the seed plays no part."""
        del seed
        support = Support.of(vectors, labels, groups)
        space = support.space(standardise=False)
        votes = np.eye(len(support.classes))[support.targets]
        return CacheHead(
            support.classes,
            space.centre,
            space.scale,
            keys=np.asarray(space.place(support.vectors), dtype=float32),
            votes=np.asarray(votes / votes.sum(axis=0), dtype=float32),
            text=np.zeros((len(support.classes), vectors.shape[1]), dtype=float32),
            settings=np.array([SHARPNESS, CACHE_WEIGHT, CACHE_TEMPERATURE], dtype=float32),
        )


class HeadName(StrEnum):
    """The heads by the names that the command line and the records call them."""

    PROTOTYPES = "prototypes"
    LOGISTIC = "logistic"
    LOGISTIC_TUNED = "logistic-tuned"
    TIP_ADAPTER = "tip-adapter"


def make_head(name: HeadName) -> Head:
    """Return an unfitted head."""
    heads: Mapping[HeadName, type[Head]] = {
        HeadName.PROTOTYPES: Prototypes,
        HeadName.LOGISTIC: Logistic,
        HeadName.LOGISTIC_TUNED: TunedLogistic,
        HeadName.TIP_ADAPTER: TipAdapter,
    }
    return heads[name]()
