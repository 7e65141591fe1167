"""Made-up vectors of three classes, for heads."""

from __future__ import annotations

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from workers.fewshot.contracts import FittedHead

CLASSES = ("benign", "malignant", "normal")
SIZE = 24


def directions() -> NDArray[float32]:
    """Return three orthogonal directions, as a text tower would give for three classes."""
    drawn = np.random.default_rng(7).normal(size=(SIZE, SIZE))
    return np.linalg.qr(drawn)[0][:3].astype(float32)


def drawn_vectors(count: int, *, seed: int, noise: float = 0.15) -> tuple[NDArray[float32], list[str], list[str]]:
    """Draw ``count`` vectors of each class around its direction, with their labels and patients."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(directions(), count, axis=0) + noise * rng.normal(size=(3 * count, SIZE))
    labels = [label for label in CLASSES for _ in range(count)]
    return rows.astype(float32), labels, [f"p{place // 2}" for place in range(3 * count)]


def accuracy(head: FittedHead, *, seed: int = 99) -> float:
    """Return the share of new vectors that a head gives their own class."""
    vectors, labels, _ = drawn_vectors(40, seed=seed)
    given = head.predict_proba(vectors).argmax(axis=1)
    return float(np.mean([head.classes[place] == label for place, label in zip(given, labels, strict=True)]))
