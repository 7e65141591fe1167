"""The few-shot head: one prototype for each class, the mean of its centred unit vectors; cosine similarity decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float32
from numpy.typing import NDArray

LEAST_EXAMPLES = 5
"""A class with fewer examples is not compared with."""
TEMPERATURE = 0.2
"""Fixed in code: there is no validation set to tune it on in a hospital's few examples."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One labelled embedding float32 ``[d]``."""

    label: str
    embedding: NDArray[float32]


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """Class names in alphabetical order, their prototypes float32 ``[c, d]``, and the centre float32 ``[d]``."""

    labels: tuple[str, ...]
    vectors: NDArray[float32]
    centre: NDArray[float32]

    def probabilities(self, embedding: NDArray[float32]) -> NDArray[float32]:
        """Return the probability of each class for one embedding ``[d]``: softmax of cosines over TEMPERATURE."""
        logits = self.vectors @ _unit(embedding - self.centre) / TEMPERATURE
        weights = np.exp(logits - logits.max())
        return np.asarray(weights / weights.sum(), dtype=float32)


def fit(examples: Sequence[Example]) -> Prototypes | None:
    """Fit the head; None where fewer than two classes have LEAST_EXAMPLES examples.

    The centre is the mean of the class means, so that a class with many examples does not pull it over. Examples are
    put in a fixed order first: the same set always gives the same head, bit for bit.
    """
    counts = Counter(example.label for example in examples)
    labels = tuple(sorted(label for label, count in counts.items() if count >= LEAST_EXAMPLES))
    if len(labels) < 2:  # noqa: PLR2004 - one class leaves nothing to decide
        return None
    ordered = sorted(examples, key=lambda example: (example.label, example.embedding.tobytes()))
    groups = [np.stack([e.embedding for e in ordered if e.label == label]).astype(np.float64) for label in labels]
    centre = np.mean([group.mean(axis=0) for group in groups], axis=0)
    vectors = [_unit(np.mean([_unit(row - centre) for row in group], axis=0)) for group in groups]
    return Prototypes(labels, np.asarray(vectors, dtype=float32), np.asarray(centre, dtype=float32))


def _unit(vector: NDArray[np.floating]) -> NDArray[np.floating]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
