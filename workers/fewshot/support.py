"""The support set as a head sees it: checked, in a fixed order, in its own coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float32, float64, intp
from numpy.typing import NDArray

from workers.errors import LabelsMissing, OneClassOnly
from workers.fewshot.contracts import Vectors, require_finite
from workers.fewshot.fitted_heads import Space

_LEAST_SPREAD = 0.01
"""Share of the mean spread that a coordinate is credited with at least: constant ones must not be blown up."""


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """Labelled vectors ``[n, d]`` in a fixed order; ``targets`` are the places of their labels in ``classes``."""

    classes: tuple[str, ...]
    vectors: Vectors
    targets: NDArray[intp]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, vectors: Vectors, labels: Sequence[str], groups: Sequence[str]) -> Support:
        """Check and order the rows, so that the same set in any order gives the same head.

        Raises LabelsMissing, OneClassOnly, EmbeddingNotFinite; each names the first bad item.
        """
        if not len(vectors) == len(labels) == len(groups):
            raise LabelsMissing(f"{len(vectors)} vectors, {len(labels)} labels, {len(groups)} patients: give one each")
        unlabelled = [index for index, label in enumerate(labels) if not label]
        if unlabelled:
            raise LabelsMissing(f"item {unlabelled[0]} of the support set has no label")
        classes = tuple(sorted(set(labels)))
        if len(classes) < 2:  # noqa: PLR2004 - one class leaves nothing to decide
            raise OneClassOnly(f"every item of the support set is {', '.join(classes) or 'missing'}: add another class")
        vectors = np.asarray(vectors, dtype=float32)
        require_finite(vectors, what="item")
        order = sorted(range(len(labels)), key=lambda row: (labels[row], groups[row], vectors[row].tobytes()))
        targets = np.array([classes.index(labels[row]) for row in order], dtype=intp)
        return cls(classes, vectors[order], targets, tuple(groups[row] for row in order))

    def space(self, *, standardise: bool) -> Space:
        """Return coordinates around the mean of the class means, each divided by its spread where asked for.

        A class with many items does not pull the centre over.
        """
        wide = self.vectors.astype(float64)
        centre = np.mean([wide[self.targets == place].mean(axis=0) for place in range(len(self.classes))], axis=0)
        spread = np.sqrt(np.mean((wide - centre) ** 2, axis=0))
        least = max(float(spread.mean()) * _LEAST_SPREAD, 1e-12)
        scale = 1.0 / np.maximum(spread, least) if standardise else np.ones_like(spread)
        return Space(np.asarray(centre, dtype=float32), np.asarray(scale, dtype=float32))

    def means(self, placed: NDArray[float64]) -> NDArray[float64]:
        """Return the mean ``[k, d]`` of each class's vectors."""
        return np.stack([placed[self.targets == place].mean(axis=0) for place in range(len(self.classes))])

    def without(self, group: str) -> Support | None:
        """Leave one patient out; None where a class is then empty."""
        keep = np.array([other != group for other in self.groups])
        if len(np.unique(self.targets[keep])) < len(self.classes):
            return None
        kept = tuple(other for other in self.groups if other != group)
        return Support(self.classes, self.vectors[keep], self.targets[keep], kept)
