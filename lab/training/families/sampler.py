"""Batches of a family's slices, moved, painted and scanned anew; each is fixed by seed and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from lab.training import augmentation
from lab.training.families.painting import Painted, middle
from lab.training.fields import FieldBank
from lab.training.lesions import LesionKind
from lab.training.outlines import Canvas
from lab.training.samples import Batch
from lab.training.slices import Mark
from workers.segmentation.families import Family

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.families.asking import KindPrompts
    from lab.training.families.painters import Recipe
    from lab.training.families.painting import TumourKind
    from lab.training.slices import SliceSet

    Regions = tuple[Tensor, Tensor, Tensor]
    """Body, what an earlier round found, and what it doubts, bool ``[n, s, y, x]``."""

LONELY_SHARE = 0.1
"""Share of samples whose neighbours are copies of the slice itself, as at the end of a stack."""
MARGIN = 3
"""Pixels around what is found or unsure that lesions are not centred on."""
UNWANTED_WEIGHT = 20.0
"""How much more a pixel of a lesion counts that was not asked for: its sample has no overlap that would count."""
SMALLEST = 4
"""Fewest pixels of a lesion in the middle slice."""


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """What a batch's networks are to mark, 0/1, how much each pixel weighs, and what they are asked."""

    masks: Tensor
    settled: Tensor
    asked: Tensor | None = None


class FamilySampler:
    """Draw batches from a family's slices as its recipe says."""

    def __init__(
        self, family: Family, recipe: Recipe, slices: SliceSet, seed: int, *, prompts: KindPrompts | None = None
    ) -> None:
        self._family, self._recipe, self._slices, self._seed, self._prompts = family, recipe, slices, seed, prompts
        self._bank = FieldBank(np.random.default_rng((seed, 1)), size=family.side)
        self._weights = slices.weights / slices.weights.sum()

    def draw(self, step: int, size: int, *, painted: float = 1.0) -> Batch:
        """Draw the batch of one step; ``painted`` is the share of slices that may get lesions at all."""
        rng = np.random.default_rng((self._seed, 2, step))
        generator = torch.Generator().manual_seed(self._seed * 10**9 + step)
        rows = rng.choice(len(self._slices), size, p=self._weights)
        order = self._order(rows, rng)
        grey = torch.from_numpy((self._slices.images[order] + 1.0) / 2.0)
        grey, moved = augmentation.move(grey, self._regions(order), rng, movement=self._recipe.movement)
        body, found, unsure = moved
        regions = (body, found, unsure)
        drawn = self._painted(grey.clone(), regions, painted, rng)
        grey = augmentation.thickened(drawn.grey, rng, share=self._recipe.thick)
        scanned = augmentation.rescan(grey, self._bank, rng, generator, scanner=self._recipe.scanner)
        told = self._told(drawn, regions, rng)
        scanned, shown = self._cut(scanned, rng)
        none = (LesionKind.NONE,) * size
        sources = tuple(int(row) for row in rows)
        return Batch(scanned * 2.0 - 1.0, told.masks * shown, told.settled, none, sources, told.asked)

    def _painted(self, grey: Tensor, regions: Regions, share: float, rng: np.random.Generator) -> Painted:
        """Paint lesions into ``share`` of the stacks but for those that stay clean; those are touched otherwise."""
        body, found, unsure = regions
        wanted = torch.from_numpy(rng.random(len(grey)) < share * (1.0 - self._recipe.clean))
        canvas = self._canvas(grey, body, found | unsure)
        wanted &= middle(canvas.room).flatten(1).any(dim=1)
        masks = torch.zeros_like(grey[:, :1])
        kinds: list[TumourKind | None] = [None] * len(grey)
        rows = torch.nonzero(wanted)[:, 0]
        if len(rows):
            result = self._recipe.paint(canvas.of(rows, grey), self._bank, rng)
            grey[rows], masks[rows] = result.grey, result.masks
            for row, kind in zip(rows.tolist(), result.kinds, strict=False):
                kinds[row] = kind
        clean = torch.nonzero(~wanted)[:, 0]
        if len(clean) and self._recipe.untouched is not None:
            grey[clean] = self._recipe.untouched(grey[clean], rng, self._bank)
        seen = masks.sum(dim=(1, 2, 3), keepdim=True) >= SMALLEST
        return Painted(grey, masks * seen, tuple(kinds))

    def _told(self, drawn: Painted, regions: Regions, rng: np.random.Generator) -> _Told:
        """Return what is to be marked: what was painted and found, as far as a prompt asks for it."""
        _, found, unsure = regions
        masks, beside = drawn.masks, 1.0 - drawn.masks
        known, settled = middle(found).float() * beside, 1.0 - middle(unsure).float() * beside
        if self._prompts is None:
            return _Told(torch.maximum(masks, known), settled)
        questions = self._prompts.ask(drawn.kinds, rng)
        general, wanted = (one.float().view(-1, 1, 1, 1) for one in (questions.general, questions.wanted))
        settled = settled * (1.0 - known * (1.0 - general)) + UNWANTED_WEIGHT * masks * (1.0 - wanted)
        return _Told(torch.maximum(masks * wanted, known * general), settled, questions.asked)

    def _order(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self._family.slices == 1:
            return rows[:, None]
        lonely = rng.random(len(rows)) < LONELY_SHARE
        below = np.where(lonely, rows, self._slices.below[rows])
        above = np.where(lonely, rows, self._slices.above[rows])
        return np.stack([below, rows, above], axis=1)

    def _regions(self, order: np.ndarray) -> Regions:
        marks = self._slices.marks[order]
        body, found, unsure = (
            torch.from_numpy(region)
            for region in (self._slices.heads[order], marks == Mark.FOUND, marks == Mark.UNSURE)
        )
        return body, found, unsure

    def _canvas(self, grey: Tensor, body: Tensor, taken: Tensor) -> Canvas:
        """Return what is painted on: the body without its edge and what is taken, and its tissue's grey."""
        recipe = self._recipe
        room = ~_grown(~body, recipe.erosion) & ~_grown(taken, MARGIN)
        if recipe.tissue_fixed is not None:
            tissue = torch.full((len(grey),), recipe.tissue_fixed)
        else:
            inside = grey.masked_fill(~body, float("nan")).flatten(1)
            tissue = torch.nan_to_num(inside.nanquantile(recipe.tissue, dim=1), nan=0.4).clamp(min=0.02)
        firm = taken.flatten(1).any(dim=1)
        return Canvas(grey, room, room, tissue.view(-1, 1, 1, 1), firm)

    def _cut(self, stacks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Blacken what lies outside a smaller field of view in some stacks; returns also what is left, 0 or 1."""
        count, side = len(stacks), stacks.shape[-1]
        shown = np.ones((count, 1, side, side), np.float32)
        for sample in np.flatnonzero(rng.random(count) < self._recipe.cut):
            top, left, bottom, right = (int(side * part) for part in rng.uniform(0.0, 0.25, 4))
            field = np.zeros((side, side), np.float32)
            field[top : side - bottom, left : side - right] = 1.0
            shown[sample, 0] = field
        left_over = torch.from_numpy(shown)
        return stacks * left_over, left_over


def _grown(region: Tensor, reach: int) -> Tensor:
    if reach <= 0:
        return region
    return functional.max_pool2d(region.float(), 2 * reach + 1, stride=1, padding=reach) > 0
