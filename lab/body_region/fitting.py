"""Fit the head on the vectors of cases, and set how far from its kind a picture may lie."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import float32, float64, intp
from numpy.typing import NDArray
from scipy.sparse.linalg import eigsh

from lab.body_region.vectors import CaseVectors
from workers.guard.kinds import PictureKind
from workers.guard.region_head import HeadDescription, RegionHead

AXES = 28
"""As many as keep the weights below 200 kB; what they leave out counts as a residual."""
_LINEAR_AXES = 160
"""The linear head is fitted on so many: in all 2,304 it is no better, and takes minutes."""
LEAST_PROBABILITY = 0.9
FOLDS = 5
_SHARPNESS = 10.0
"""The vectors are unit blocks with small differences; scaled by this the usual regularisation fits."""
_HEAVIEST = 5.0
"""No row weighs more than so many times the average, however few its kind has."""
_SHRINK_ROWS = 200
"""So many rows of its own weigh as much, in a kind's covariance, as the covariance of all kinds."""
_RIDGE = 1e-5
_FAMILIAR = 0.98
"""Share of the pictures of patients whom the head has not seen that are to count as familiar."""
_SLACK = 1.03


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Every picture of some cases: vectors ``[n, d]``, number of the kind ``[n]``, weight ``[n]``."""

    vectors: NDArray[float64]
    kinds: NDArray[intp]
    weights: NDArray[float64]


def fit(seen: Sequence[CaseVectors], *, space: str) -> RegionHead:
    """Fit a head; its limits come from five folds over the patients, each measured by a head that did not see it."""
    head = _fit_unlimited(seen, space=space)
    kinds = head.description.kinds
    reached: dict[PictureKind, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for fold in range(FOLDS):
        kept, left = _apart(seen, fold)
        fitted = _fit_unlimited(kept, space=space)
        for one in left:
            if one.case.kind in fitted.description.kinds:
                reached[one.case.kind] += _reach(fitted, one)
    limits = np.array([np.quantile(reached[kind], _FAMILIAR, axis=0) for kind in kinds], dtype=float32) * _SLACK
    return replace(head, limits=limits[:, 0], residual_limits=limits[:, 1])


def out_of_fold(seen: Sequence[CaseVectors], limited: RegionHead) -> list[tuple[CaseVectors, RegionHead]]:
    """Return every case with a head that was fitted without its patient, under the limits of the whole one."""
    pairs = []
    for fold in range(FOLDS):
        kept, left = _apart(seen, fold)
        fitted = fit_under(limited, kept)
        pairs += [(one, fitted) for one in left]
    return pairs


def fit_under(limited: RegionHead, seen: Sequence[CaseVectors]) -> RegionHead:
    """Fit a head on other cases, of all kinds or of fewer, under the limits of one that has them."""
    fitted = _fit_unlimited(seen, space=limited.description.space)
    kept = [limited.description.kinds.index(kind) for kind in fitted.description.kinds]
    return replace(fitted, limits=limited.limits[kept], residual_limits=limited.residual_limits[kept])


def _apart(seen: Sequence[CaseVectors], fold: int) -> tuple[list[CaseVectors], list[CaseVectors]]:
    folds = [hashlib.sha256(f"fold {one.case.patient}".encode()).digest()[0] % FOLDS for one in seen]
    kept, left = ([one for one, at in zip(seen, folds, strict=True) if (at == fold) is out] for out in (False, True))
    return kept, left


def _reach(head: RegionHead, one: CaseVectors) -> list[tuple[float, float]]:
    """Return Mahalanobis distance and residual of every picture of a case that the head names rightly."""
    vectors = np.concatenate([one.plain, one.altered])
    wanted = head.description.kinds.index(one.case.kind)
    right = vectors[head.probabilities(vectors).argmax(axis=1) == wanted]
    far = np.full_like(head.limits, np.inf)
    inside = replace(head, residual_limits=far).distances(right)
    left_out = replace(head, limits=far).distances(right)
    return list(zip(inside.tolist(), left_out.tolist(), strict=True))


def _fit_unlimited(seen: Sequence[CaseVectors], *, space: str) -> RegionHead:
    """Fit a head whose distances are not divided by anything yet."""
    from sklearn.linear_model import LogisticRegression

    kinds = tuple(kind for kind in PictureKind if any(one.case.kind is kind for one in seen))
    rows = _rows(seen, kinds)
    centre = np.average(rows.vectors, axis=0, weights=rows.weights)
    moved = rows.vectors - centre
    main = _main_axes(moved, rows.weights)
    linear = LogisticRegression(C=1.0, max_iter=500)
    linear.fit(moved @ main * _SHARPNESS, rows.kinds, sample_weight=rows.weights)
    axes = main[:, :AXES]
    means, whitening = _spread(moved @ axes, rows)
    ones = np.ones(len(kinds), dtype=float32)
    return RegionHead(
        HeadDescription(space, kinds, LEAST_PROBABILITY),
        centre.astype(float32),
        (linear.coef_ @ main.T * _SHARPNESS).astype(float32),
        linear.intercept_.astype(float32),
        axes.astype(float32),
        means.astype(float32),
        whitening.astype(float32),
        ones,
        ones,
    )


def _rows(seen: Sequence[CaseVectors], kinds: Sequence[PictureKind]) -> Rows:
    """Stack the pictures; kinds weigh the same, and inside a kind its folders, as far as the heaviest row allows."""
    vectors = np.concatenate([part for one in seen for part in (one.plain, one.altered)]).astype(float64)
    owners = [(one.case.kind, one.case.source) for one in seen for _ in range(len(one.plain) + len(one.altered))]
    of_owner = Counter(owners)
    folders = Counter(kind for kind, _ in of_owner)
    weights = np.array([1.0 / (of_owner[owner] * folders[owner[0]]) for owner in owners])
    weights *= len(weights) / weights.sum()
    return Rows(vectors, np.array([kinds.index(kind) for kind, _ in owners]), np.minimum(weights, _HEAVIEST))


def _main_axes(moved: NDArray[float64], weights: NDArray[float64]) -> NDArray[float64]:
    """Return the axes ``[d, a]`` along which the rows vary most, from the first on; the same for the same rows."""
    weighed = (moved * np.sqrt(weights)[:, None]).astype(float32)
    values, axes = eigsh((weighed.T @ weighed).astype(float64), k=_LINEAR_AXES, v0=np.ones(moved.shape[1]))
    return np.asarray(axes[:, np.argsort(values)[::-1]])


def _spread(placed: NDArray[float64], rows: Rows) -> tuple[NDArray[float64], NDArray[float64]]:
    """Return each kind's mean, and what whitens its rows; a kind with few rows leans on the spread of all."""
    count = int(rows.kinds.max()) + 1
    own = [rows.kinds == kind for kind in range(count)]
    means = np.stack([np.average(placed[rows_of], axis=0, weights=rows.weights[rows_of]) for rows_of in own])
    pooled = np.cov((placed - means[rows.kinds]).T, aweights=rows.weights)
    whitening = []
    for rows_of in own:
        share = rows_of.sum() / (rows_of.sum() + _SHRINK_ROWS)
        covariance = share * np.cov(placed[rows_of].T, aweights=rows.weights[rows_of]) + (1 - share) * pooled
        whitening.append(np.linalg.cholesky(np.linalg.inv(covariance + _RIDGE * np.eye(AXES))).T)
    return means, np.stack(whitening)
