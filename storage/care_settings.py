"""Where patients are cared for, as triage policies ask: emergency, ward, or from outside."""

from __future__ import annotations

from enum import StrEnum


class CareSetting(StrEnum):
    """Where the patient of a study is cared for."""

    EMERGENCY = "emergency"
    INPATIENT = "inpatient"
    OUTPATIENT = "outpatient"
