"""The fixed split of the patients of ``brain-mri-lgg``: by patient, never by image."""

from __future__ import annotations

import hashlib
from enum import StrEnum

WHOLE_BELOW = 171
"""Of 256: last byte of the digest of the names of patients whose stacks are seen whole."""


class Role(StrEnum):
    """What a patient's images may be used for."""

    TRAIN = "train"
    TUNE = "tune"
    TEST = "test"


# The patients in the order of the sha256 of their names: the first 13 are kept out of everything, the next 8 fix
# thresholds, everybody else trains.
TEST_PATIENTS = (
    "TCGA_DU_7013", "TCGA_DU_5874", "TCGA_CS_6188", "TCGA_DU_7018", "TCGA_DU_5871", "TCGA_CS_4943", "TCGA_DU_5849",
    "TCGA_DU_6404", "TCGA_DU_A5TS", "TCGA_DU_6401", "TCGA_DU_A5TW", "TCGA_CS_4942", "TCGA_DU_6407",
)  # fmt: skip
TUNE_PATIENTS = (
    "TCGA_DU_6400", "TCGA_DU_8165", "TCGA_DU_A5TP", "TCGA_DU_6405", "TCGA_DU_8166", "TCGA_CS_6290", "TCGA_DU_7014",
    "TCGA_DU_5851",
)  # fmt: skip


def role(patient: str) -> Role:
    """Tell what a patient's images may be used for; a patient not on a list trains."""
    if patient in TEST_PATIENTS:
        return Role.TEST
    if patient in TUNE_PATIENTS:
        return Role.TUNE
    return Role.TRAIN


def is_seen_whole(patient: str) -> bool:
    """Tell whether the second round of training sees all slices of a training patient.

    Of about two thirds it does, by the digest of their names; the tumours of the others stay unseen, so that the mask
    rule is chosen on tumours that no training has met.
    """
    return role(patient) is Role.TRAIN and hashlib.sha256(patient.encode()).digest()[-1] < WHOLE_BELOW
