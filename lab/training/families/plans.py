"""How long each family is trained, and into how many folds its patients are dealt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.training.families.settings import BATCH, FIRST, RATE, RATE_AFTER, SECOND
from lab.training.settings import StageSettings
from workers.segmentation.families import BODY_CT, LIMB_MR, PET, Family
from workers.segmentation.random_walk import Walk


@dataclass(frozen=True, slots=True)
class FamilyPlan:
    """Steps of both rounds of each network, how many networks there are (one for each fold), how scores are spread."""

    first: StageSettings = FIRST
    second: StageSettings = SECOND
    folds: int = 1
    walk: Walk | None = None


def _folded(first: int, second: int, walk: Walk) -> FamilyPlan:
    return FamilyPlan(StageSettings(first, BATCH, RATE), StageSettings(second, BATCH, RATE_AFTER), 3, walk)


DEFAULT = FamilyPlan()
PLANS: Mapping[Family, FamilyPlan] = {
    PET: _folded(500, 350, Walk(0.16, 0.02)),
    LIMB_MR: _folded(250, 250, Walk(0.04, 0.005)),
    BODY_CT: _folded(250, 250, Walk(0.04, 0.005)),
}
"""The families of few patients, whom none may be kept from training for the sake of a rule."""


def plan_of(family: Family) -> FamilyPlan:
    """Return the plan of a family."""
    return PLANS.get(family, DEFAULT)
