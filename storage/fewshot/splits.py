"""What a patient's items may be used for."""

from __future__ import annotations

from enum import StrEnum


class Split(StrEnum):
    """The three uses, kept apart by patient."""

    SUPPORT = "support"
    CALIBRATION = "calibration"
    EVALUATION = "evaluation"
