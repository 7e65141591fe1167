"""Batches of augmented slices with painted lesions, each fixed by seed and step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from lab.training import augmentation, painting
from lab.training.fields import FieldBank
from lab.training.lesions import LesionKind
from lab.training.slices import GRID, Mark

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.slices import SliceSet

LOW_HEIGHT = 0.3
HIGH_HEIGHT = 0.9
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

    Stacks of single slices are ``[n, 1, y, x]``.

    ``masks`` are those of the middle slice, and so is ``settled`` (0/1): 0 where nobody knows whether it is a lesion.
    ``rows`` index the slice set that the samples were drawn from. ``asked [n, 384]`` is what a prompted family's
    network is told to look for.
    """

    stacks: Tensor
    masks: Tensor
    settled: Tensor
    kinds: tuple[LesionKind, ...]
    rows: tuple[int, ...]
    asked: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """The middle slices: ``[n, 1, y, x]``."""
        return self.stacks[:, _middle(self.stacks)]


class Sampler:
    """Draw batches from a set of tumour-free slices, each with its neighbours or ``alone``."""

    def __init__(self, slices: SliceSet, seed: int, *, alone: bool = False) -> None:
        self.slices = slices
        self._seed, self._alone = seed, alone
        self._bank = FieldBank(np.random.default_rng((seed, 1)))
        self._shading = (
            self._bank if slices.size == GRID else FieldBank(np.random.default_rng((seed, 6)), size=slices.size)
        )
        self._ends = (slices.heights < LOW_HEIGHT) | (slices.heights > HIGH_HEIGHT)
        weights = np.where(self._ends, ENDS_WEIGHT, 1.0) * slices.weights
        self._weights = weights / weights.sum()

    def draw(self, step: int, size: int, *, painted: float = 1.0) -> Batch:
        """Draw the batch of one step; ``painted`` is the share of slices that may get lesions at all."""
        rng = np.random.default_rng((self._seed, 2, step))
        generator = torch.Generator().manual_seed(self._seed * 10**9 + step)
        rows = rng.choice(len(self.slices), size, p=self._weights)
        order = self._order(rows, rng)
        grey, (heads, found, unsure) = augmentation.move(self._grey(order), self._regions(order), rng)
        share = painted * (1.0 - CLEAN_SHARE) * np.where(self._ends[rows], ENDS_PAINTED, 1.0)
        wanted = torch.from_numpy(rng.random(size) < share)
        result = painting.paint(grey, heads, wanted, bank=self._bank, rng=rng, taken=found | unsure)
        scanned = augmentation.rescan(result.grey, self._shading, rng, generator)
        middle = _middle(found)
        masks = torch.maximum(result.masks, found[:, middle].float())
        settled = 1.0 - unsure[:, middle].float()
        kinds = _named(result.kinds, found[:, middle])
        return Batch(scanned * 2.0 - 1.0, masks, settled, kinds, tuple(int(row) for row in rows))

    def _order(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return for each slice the rows of the one below, itself and the one above, ``[n, 3]``; or itself alone."""
        if self._alone:
            return rows[:, None]
        lonely = rng.random(len(rows)) < LONELY_SHARE
        below = np.where(lonely, rows, self.slices.below[rows])
        above = np.where(lonely, rows, self.slices.above[rows])
        return np.stack([below, rows, above], axis=1)

    def _grey(self, order: np.ndarray) -> Tensor:
        """Return the stacks as grey in 0..1, ``[n, 3, y, x]``."""
        grey: Tensor = torch.from_numpy((self.slices.images[order] + 1.0) / 2.0)
        return grey

    def _regions(self, order: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the head is, what is marked as found and what as unsure, bool ``[n, 3, y, x]``."""
        marks = self.slices.marks[order]
        regions = (self.slices.heads[order], marks == Mark.FOUND, marks == Mark.UNSURE)
        heads, found, unsure = (torch.from_numpy(region) for region in regions)
        return heads, found, unsure


def _middle(stacks: Tensor) -> slice:
    middle = stacks.shape[1] // 2
    return slice(middle, middle + 1)


def _named(painted: tuple[LesionKind, ...], found: Tensor) -> tuple[LesionKind, ...]:
    """Call a sample that shows what an earlier round found by that name alone: nobody has said which sort it is."""
    return tuple(
        LesionKind.FOUND if there else kind
        for kind, there in zip(painted, found.flatten(1).any(dim=1).tolist(), strict=True)
    )


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
