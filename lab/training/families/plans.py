"""How long each family is trained, and into how many folds its patients are dealt."""

from __future__ import annotations

from collections.abc import Mapping

from lab.training.families.settings import BATCH, RATE, RATE_AFTER, FamilyPlan
from lab.training.settings import StageSettings
from workers.segmentation.families import BODY_CT, BREAST_US, HEAD_MR, LIMB_MR, PET, Family
from workers.segmentation.random_walk import Walk


def _steps(first: int, second: int) -> tuple[StageSettings, StageSettings]:
    return StageSettings(first, BATCH, RATE), StageSettings(second, BATCH, RATE_AFTER)


DEFAULT = FamilyPlan()
PLANS: Mapping[Family, FamilyPlan] = {
    HEAD_MR: FamilyPlan(
        StageSettings(2000, BATCH, 1.5e-3),
        StageSettings(0, BATCH, RATE_AFTER),
        walk=Walk(0.04, 0.005),
        minimum_ml=0.3,
        tops=(0.0, 0.8, 0.9, 0.95),
    ),
    BREAST_US: FamilyPlan(
        *_steps(2400, 0), walk=Walk(0.04, 0.005), leasts=(0.0, 0.9, 0.93, 0.95, 0.96, 0.97, 0.975, 0.98)
    ),
    PET: FamilyPlan(*_steps(500, 300), folds=3, walk=Walk(0.08, 0.05), edge_mm=10.0),
    LIMB_MR: FamilyPlan(*_steps(600, 300), folds=3, walk=Walk(0.04, 0.005), marks_spread=True),
    BODY_CT: FamilyPlan(*_steps(600, 300), folds=3, walk=Walk(0.02, 0.02)),
}
"""Those with folds have few patients, whom none may be kept from training for the sake of a rule."""


def plan_of(family: Family) -> FamilyPlan:
    """Return the plan of a family."""
    return PLANS.get(family, DEFAULT)
