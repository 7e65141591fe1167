"""What the gate judges: an adapter's answers on the evaluation patients, and the bounds that they are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy import bool_, float64, int64, str_
from numpy.typing import NDArray

BOOTSTRAPS = 1000
"""Draws of whole patients behind every interval."""
SEED = 20260101
"""Fixed: the same evidence always gets the same verdicts."""


@dataclass(frozen=True, slots=True)
class GateBounds:
    """What the figures are held against; recorded with every evaluation."""

    least_patients: int = 50
    incumbent_loss: float = 0.02
    mask_cost: float = 0.05
    least_in_group: int = 10
    odds_gap: float = 0.10
    odds_gap_lower: float = 0.05
    unrecorded_share: float = 0.10
    calibration_error: float = 0.10
    coverage_slack: float = 0.05
    seed_spread: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """An adapter's answers on ``n`` evaluation items of ``k`` classes.

    ``truth`` holds class numbers ``[n]``, ``probabilities`` is calibrated float ``[n, k]``, ``label_sets`` bool
    ``[n, k]``, ``patients`` keys ``[n]``, ``groups`` a value per item for each attribute, "" where it is not recorded.
    ``incumbent`` and ``shuffled`` are probabilities of the adapter that predicts now, and of this one under other
    items' masks; None where there is no such thing. ``seed_accuracies`` come from resampled supports.
    """

    classes: tuple[str, ...]
    positive_class: str
    truth: NDArray[int64]
    probabilities: NDArray[float64]
    label_sets: NDArray[bool_]
    patients: NDArray[str_]
    groups: Mapping[str, NDArray[str_]]
    fitted_patients: frozenset[str]
    calibration_items: int
    alpha: float
    sensitivity_floor: float
    incumbent: NDArray[float64] | None = None
    shuffled: NDArray[float64] | None = None
    seed_accuracies: tuple[float, ...] = ()
    bounds: GateBounds = field(default_factory=GateBounds)

    @property
    def chosen(self) -> NDArray[int64]:
        """The class number that each item got ``[n]``."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=int64)

    @property
    def right(self) -> NDArray[bool_]:
        """Whether each item got its own class ``[n]``."""
        return np.asarray(self.chosen == self.truth, dtype=bool_)

    @property
    def patient_count(self) -> int:
        """How many different patients there are."""
        return len(set(self.patients.tolist()))
