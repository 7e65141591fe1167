"""Batches of augmented slices with painted lesions, each fixed by seed and step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from workers.training import augmentation, lesions
from workers.training.fields import FieldBank

if TYPE_CHECKING:
    from torch import Tensor

    from workers.training.lesions import Finding
    from workers.training.slices import SliceSet

LOW_LEVEL = 0.3
HIGH_LEVEL = 0.9
"""Below this share of the stack lie neck, face and skull base; above that one little but skull and scalp."""
ENDS_WEIGHT = 0.8
ENDS_PAINTED = 0.25
"""How often slices of both ends are drawn, and painted, compared with the others: tumours are seldom there, so what
is bright there must be learned as healthy."""
CLEAN_SHARE = 0.15
LONELY_SHARE = 0.15
"""Share of samples whose neighbours are copies of the slice itself, as at the end of a stack."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Painted ``stacks [n, 3, y, x]`` in -1..1 (slice below, slice, slice above), lesion ``masks [n, 1, y, x]`` 0/1.

    ``masks`` are those of the middle slice; ``rows`` index the slice set that the samples were drawn from.
    """

    stacks: Tensor
    masks: Tensor
    findings: tuple[Finding, ...]
    rows: tuple[int, ...]

    @property
    def images(self) -> Tensor:
        """The middle slices: ``[n, 1, y, x]``."""
        return self.stacks[:, 1:2]


class Sampler:
    """Draw batches from a set of tumour-free slices."""

    def __init__(self, slices: SliceSet, seed: int) -> None:
        self.slices = slices
        self._seed = seed
        self._bank = FieldBank(np.random.default_rng((seed, 1)))
        self._ends = (slices.levels < LOW_LEVEL) | (slices.levels > HIGH_LEVEL)
        weights = np.where(self._ends, ENDS_WEIGHT, 1.0) * slices.weights
        self._weights = weights / weights.sum()

    def draw(self, step: int, size: int, *, painted: float = 1.0) -> Batch:
        """Draw the batch of one step; ``painted`` is the share of slices that may get lesions at all."""
        rng = np.random.default_rng((self._seed, 2, step))
        generator = torch.Generator().manual_seed(self._seed * 10**9 + step)
        rows = rng.choice(len(self.slices), size, p=self._weights)
        grey, heads = augmentation.move(*self._gather(rows, rng), rng)
        share = painted * (1.0 - CLEAN_SHARE) * np.where(self._ends[rows], ENDS_PAINTED, 1.0)
        wanted = torch.from_numpy(rng.random(size) < share)
        result = lesions.paint(grey, heads, wanted, self._bank, rng)
        scanned = augmentation.rescan(result.grey, self._bank, rng, generator)
        return Batch(scanned * 2.0 - 1.0, result.masks, result.findings, tuple(int(row) for row in rows))

    def _gather(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Stack each slice with its neighbours: grey in 0..1 and heads, ``[n, 3, y, x]``."""
        lonely = rng.random(len(rows)) < LONELY_SHARE
        below = np.where(lonely, rows, self.slices.below[rows])
        above = np.where(lonely, rows, self.slices.above[rows])
        order = np.stack([below, rows, above], axis=1)
        grey = torch.from_numpy((self.slices.images[order] + 1.0) / 2.0)
        return grey, torch.from_numpy(self.slices.heads[order])


class Ahead:
    """Draw the batches of consecutive steps one step ahead, in a thread: what is drawn depends on the step alone."""

    def __init__(self, sampler: Sampler, size: int, *, painted: float = 1.0) -> None:
        self._sampler = sampler
        self._size = size
        self._painted = painted
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="samples")
        self._next: tuple[int, Future[Batch]] | None = None

    def draw(self, step: int) -> Batch:
        """Return the batch of ``step`` and begin the one after it."""
        ready = self._next[1] if self._next and self._next[0] == step else self._submit(step)
        self._next = (step + 1, self._submit(step + 1))
        return ready.result()

    def _submit(self, step: int) -> Future[Batch]:
        return self._pool.submit(self._sampler.draw, step, self._size, painted=self._painted)
