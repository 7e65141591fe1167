"""Choose a folded family's rule on patients whom the networks never saw, from few numbers, and say what that holds for.

Two numbers are chosen: the share of a patient's peak at which the mask is drawn, and the share of its best slice below
which a component ends; of families whose plan says so, which components and whose masks are left out, too. What a
choice is worth on patients who took no part in it is read by leaving out each in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from lab import metrics
from lab.training.rules import Worth
from workers.segmentation.ends import cut_ends
from workers.segmentation.halfway import halfway
from workers.segmentation.mask import MaskRule, kept_components
from workers.segmentation.own_level import OwnLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from storage.volumes import Vector
    from workers.segmentation.random_walk import Walk

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

BASE = MaskRule(threshold=0.0, peak=0.5, minimum_ml=1.0, smoothing_mm=9.0, share=0.35)
"""What is not chosen, for want of patients."""
LEVELS = (0.2, 0.3, 0.4, 0.5, 0.6)
ENDS = (0.0, 0.3, 0.4, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class SpreadCase:
    """A patient's stack on its framed grid: score (smoothed, spread), truth, grey (0..1) and body ``[z, y, x]``."""

    patient: str
    score: FloatArray
    truth: BoolArray
    grey: FloatArray
    body: BoolArray
    spacing_mm: Vector


@dataclass(frozen=True, slots=True)
class Choice:
    """What is chosen.

    ``level``, ``top`` and ``least`` are ``share``, ``top_share`` and ``least_peak`` of ``OwnLevel``, ``end`` is that of
    ``ends.cut_ends``.
    """

    level: float
    end: float
    top: float = 0.0
    least: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is given before anything is chosen: how scores are spread, and how far edges may move (``halfway``)."""

    walk: Walk
    edge_mm: float = 0.0
    minimum_ml: float = BASE.minimum_ml
    tops: tuple[float, ...] = (0.0,)
    leasts: tuple[float, ...] = (0.0,)

    def choices(self) -> tuple[Choice, ...]:
        """Return everything that may be chosen."""
        return tuple(Choice(*numbers) for numbers in product(LEVELS, ENDS, self.tops, self.leasts))

    def own(self, choice: Choice) -> OwnLevel:
        """Return each patient's own levels."""
        return OwnLevel(self.walk, choice.level, choice.top, choice.least)

    @property
    def rule(self) -> MaskRule:
        """The mask rule, without the levels, which are each patient's own."""
        return replace(BASE, minimum_ml=self.minimum_ml)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What each choice gives on each case: ``dice`` and ``alarms`` ``[choice, case]``, and each case's far slices."""

    patients: tuple[str, ...]
    dice: NDArray[np.float64]
    alarms: NDArray[np.float64]
    far: NDArray[np.float64]

    def worth(self, choice: int, cases: BoolArray) -> Worth:
        """Return what a choice is worth on some cases; all alarms count, those of a tumour's own ends, too."""
        far = max(1.0, float(self.far[cases].sum()))
        return Worth(float(self.dice[choice, cases].mean()), float(self.alarms[choice, cases].sum()) / far)

    def best(self, cases: BoolArray) -> int:
        """Return the choice of the highest value on some cases, the first of equals."""
        return max(range(len(self.dice)), key=lambda choice: self.worth(choice, cases).value)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choice, what it is worth on the cases that made it, and what choices without a patient are worth on them."""

    choice: Choice
    own: Worth
    left_out: Worth


def choose(cases: Sequence[SpreadCase], drawing: Drawing) -> Chosen:
    """Return the best choice on the cases, and its honest figure."""
    table = measured(cases, drawing)
    everyone = np.ones(len(cases), dtype=bool)
    best = table.best(everyone)
    return Chosen(drawing.choices()[best], table.worth(best, everyone), left_out(table))


def measured(cases: Sequence[SpreadCase], drawing: Drawing) -> Table:
    """Return what every choice gives on every case."""
    columns = [_column(case, drawing) for case in cases]
    dice, alarms = (np.stack([column[part] for column in columns], axis=1) for part in (0, 1))
    far = np.array([metrics.far_slices(case.truth).sum() for case in cases], dtype=np.float64)
    return Table(tuple(case.patient for case in cases), dice, alarms, far)


def left_out(table: Table) -> Worth:
    """Return what is read on each patient by the choice of all others: mean Dice, and the share of alarms."""
    owners, dices, alarms = np.array(table.patients), [], 0.0
    for patient in sorted(set(table.patients)):
        own = owners == patient
        choice = table.best(~own)
        dices += list(table.dice[choice, own])
        alarms += float(table.alarms[choice, own].sum())
    return Worth(float(np.mean(dices)), alarms / max(1.0, float(table.far.sum())))


def masked(case: SpreadCase, choice: Choice, drawing: Drawing) -> BoolArray:
    """Return the mask of a case by a choice, on the framed grid."""
    rule = drawing.own(choice).rule(drawing.rule, case.score, case.spacing_mm)
    labels = cut_ends(kept_components(case.score, case.spacing_mm, rule), case.score, choice.end)
    if drawing.edge_mm <= 0:
        return labels > 0
    return halfway(labels, case.grey, case.body, spacing_mm=case.spacing_mm, reach_mm=drawing.edge_mm)


def _column(case: SpreadCase, drawing: Drawing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Dice and number of far slices with a mask, for every choice."""
    free = metrics.far_slices(case.truth)
    masks = [masked(case, choice, drawing) for choice in drawing.choices()]
    dices = np.array([metrics.dice(mask, case.truth) for mask in masks])
    return dices, np.array([mask[free].any(axis=(1, 2)).sum() for mask in masks], dtype=np.float64)
