"""Batches of augmented slices with painted lesions, each fixed by seed, stage and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from workers.training import augmentation, lesions
from workers.training.lesions import FieldBank, Finding

if TYPE_CHECKING:
    from torch import Tensor

    from workers.training.slices import SliceSet

LOW_LEVEL = 0.35
"""Below this share of the stack lie neck, face and skull base: seen less often, and painted less often."""
LOW_WEIGHT = 0.45
LOW_PAINTED = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Painted ``images`` and the same slices ``clean``, ``[n, 1, y, x]`` in -1..1, with lesion ``masks`` 0/1."""

    images: Tensor
    clean: Tensor
    masks: Tensor
    findings: tuple[Finding, ...]


class Sampler:
    """Draw batches from a set of tumour-free slices."""

    def __init__(self, slices: SliceSet, seed: int) -> None:
        self._slices = slices
        self._seed = seed
        self._bank = FieldBank(np.random.default_rng((seed, 1)))
        weights = np.where(slices.levels < LOW_LEVEL, LOW_WEIGHT, 1.0)
        self._weights = weights / weights.sum()

    def draw(self, step: int, size: int, *, painted: float = 1.0) -> Batch:
        """Draw the batch of one step; ``painted`` is the share of slices that may get lesions at all."""
        rng = np.random.default_rng((self._seed, 2, step))
        samples = [self._sample(rng, painted) for _ in range(size)]
        images, clean, masks, findings = zip(*samples, strict=True)
        return Batch(_stacked(images), _stacked(clean), _stacked(masks), tuple(findings))

    def _sample(self, rng: np.random.Generator, painted: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, Finding]:
        index = rng.choice(len(self._slices), p=self._weights)
        image, head = augmentation.move(self._slices.images[index], self._slices.heads[index], rng)
        share = painted * (LOW_PAINTED if self._slices.levels[index] < LOW_LEVEL else 1.0)
        if rng.random() >= share:
            head = np.zeros_like(head)
        result = lesions.paint(image, head, self._bank, rng)
        scanner = int(rng.integers(2**32))
        rescanned = [
            augmentation.rescan(picture, self._bank, np.random.default_rng(scanner))
            for picture in (result.image, image)
        ]
        return rescanned[0], rescanned[1], result.mask.astype(np.float32), result.finding


def _stacked(arrays: tuple[np.ndarray, ...]) -> Tensor:
    return torch.from_numpy(np.stack(arrays)[:, None])
