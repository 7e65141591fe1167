"""Prototypes: the mean of each class's centred unit vectors; cosine similarity decides (Snell et al., 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import float32

from workers.fewshot.contracts import Vectors
from workers.fewshot.heads.fitted import LinearHead
from workers.fewshot.heads.support import Support

TEMPERATURE = 0.2


class Prototypes:
    """The head for one to four examples of a class."""

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
