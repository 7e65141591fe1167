"""What one training of a family is told, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.patients import Role
from lab.training.settings import StageSettings

if TYPE_CHECKING:
    from lab.training.rules import Worth
    from lab.training.settings import StepReport
    from workers.segmentation.families import Family
    from workers.segmentation.random_walk import Walk

RATE, RATE_AFTER = 2e-3, 1e-3
BATCH = 16
FIRST = StageSettings(1500, BATCH, RATE)
SECOND = StageSettings(600, BATCH, RATE_AFTER)
ONLY = frozenset({Role.TRAIN})
LICENCE = "CC-BY-NC-SA-4.0"


@dataclass(frozen=True, slots=True)
class FamilyPlan:
    """How a family is trained and its masks are drawn: the same for everyone who trains it."""

    first: StageSettings = FIRST
    second: StageSettings = SECOND
    folds: int = 1
    """How many networks there are, each trained without the patients of a fold of its own."""
    walk: Walk | None = None
    """How scores are spread along the grey before a mask is drawn; None where they are not."""
    edge_mm: float = 0.0
    """How far out a component's edge may move to lie halfway (``workers.segmentation.halfway``); 0 where it stays."""
    marks_spread: bool = False
    """Whether the marks of the second round are drawn in scores that are spread so, too."""
    minimum_ml: float = 1.0
    """The smallest component of a mask that is drawn at a share of its patient's own peak."""
    tops: tuple[float, ...] = (0.0,)
    """Of which ``OwnLevel.top_share`` is chosen."""
    leasts: tuple[float, ...] = (0.0,)
    """Of which ``OwnLevel.least_peak`` is chosen, where cases without a tumour are among those that choose."""


@dataclass(frozen=True, slots=True)
class FamilySettings:
    """One training: the family, the folder of all data, where weights and checkpoints go, and how long.

    The weights depend on seed and steps alone; ``deadline_minutes`` stops a run early, for a later one to go on.
    """

    family: Family
    data: Path
    out: Path
    work: Path
    plan: FamilyPlan = FamilyPlan()
    seed: int = 0
    threads: int = 1
    deadline_minutes: float = 60.0
    dtype: str = "auto"


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """Whether training is finished and, then, what the chosen rule gives on the tuning part."""

    finished: bool
    worth: Worth | None
    cases: int
    seconds: float


def unheard_step(_report: StepReport) -> None:
    """Ignore the report."""
