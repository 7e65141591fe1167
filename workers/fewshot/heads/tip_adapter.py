"""Tip-Adapter (Zhang et al., 2022): the support vectors themselves are the classifier; nothing is trained.

Written from the paper: ``logits = text + alpha * exp(-beta (1 - f . K)) . L``. Without a text tower the first term is
left out. Votes are divided by the size of their class, so that a frequent class does not win by its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float32

from workers.fewshot.contracts import Vectors
from workers.fewshot.heads.fitted import CacheHead
from workers.fewshot.heads.support import Support
from workers.fewshot.heads.text import ClassTexts

SHARPNESS = 5.5
CACHE_WEIGHT = 1.0
TEMPERATURE = 0.01
CACHE_TEMPERATURE = 0.05
"""Of the votes alone, where there is no text."""


@dataclass(frozen=True, slots=True)
class TipAdapter:
    """The cache head; with texts where the backbone has a text tower."""

    texts: ClassTexts | None = None
    name: str = "tip-adapter"

    def fit(self, vectors: Vectors, labels: Sequence[str], groups: Sequence[str], *, seed: int) -> CacheHead:
        """Keep the support set as keys; the seed plays no part."""
        del seed
        support = Support.of(vectors, labels, groups)
        space = support.space(standardise=False)
        votes = np.eye(len(support.classes))[support.targets]
        text = np.zeros((len(support.classes), vectors.shape[1]))
        if self.texts is not None:
            text = np.stack([self.texts.vectors[self.texts.classes.index(label)] for label in support.classes])
        return CacheHead(
            support.classes,
            space.centre,
            space.scale,
            np.asarray(space.place(support.vectors), dtype=float32),
            np.asarray(votes / votes.sum(axis=0), dtype=float32),
            np.asarray(text, dtype=float32),
            np.array(
                [SHARPNESS, CACHE_WEIGHT, CACHE_TEMPERATURE if self.texts is None else TEMPERATURE], dtype=float32
            ),
        )
