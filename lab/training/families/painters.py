"""Which painter a family has, and how far its images are moved and rescanned before they are trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lab.training.augmentation import Movement, Scanner
from lab.training.families import breast_masses, enhancement, masses, nodules, uptake
from lab.training.families.painting import Painter
from lab.training.fields import FieldBank
from workers.segmentation.families import BODY_CT, BREAST_US, HEAD_MR, LIMB_MR, LUNG_CT, PET, Family

ANY_TURN = 1.5
"""Spread of the turn, in radians, of limbs: they lie in any position."""

Untouched = Callable[[Tensor, np.random.Generator, FieldBank], Tensor]
"""Changes stacks without a painted lesion where painting changes more than the lesion."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a family's training samples are made.

    ``tissue`` is the quantile of the body's grey that counts as the tissue lesions are compared with, or with
    ``tissue_fixed`` that grey itself. ``erosion`` pixels of the body's edge are left free. ``clean`` is the share of
    samples without a lesion, ``cut`` that of samples whose field of view is cut, and ``thick`` that of samples whose
    slices are made thinner or thicker than they are. ``untouched`` is what becomes of samples without a painted lesion.
    """

    paint: Painter
    movement: Movement
    scanner: Scanner
    tissue: float = 0.5
    tissue_fixed: float | None = None
    erosion: int = 2
    clean: float = 0.3
    cut: float = 0.3
    thick: float = 0.0
    untouched: Untouched | None = None


RECIPES: Mapping[Family, Recipe] = {
    PET: Recipe(
        uptake.paint,
        Movement(ANY_TURN, (0.2, 0.2), 0.2),
        Scanner(0.0, 0.0, 0.0, 0.0),
        erosion=1,
        clean=0.25,
        untouched=uptake.rescaled,
    ),
    LIMB_MR: Recipe(
        masses.MR_MASSES, Movement(ANY_TURN, (0.2, 0.2), 0.25), Scanner(0.35, 0.25, 0.2, 0.04), tissue=0.35, clean=0.2
    ),
    BODY_CT: Recipe(
        masses.CT_MASSES,
        Movement(ANY_TURN, (0.2, 0.2), 0.25),
        Scanner(0.05, 0.05, 0.0, 0.06),
        tissue_fixed=0.54,
        clean=0.2,
    ),
    BREAST_US: Recipe(
        breast_masses.paint,
        Movement(0.04, (0.1, 0.1), 0.2),
        Scanner(0.4, 0.3, 0.1, 0.03),
        erosion=0,
        cut=0.1,
        untouched=breast_masses.unpainted,
    ),
    LUNG_CT: Recipe(
        nodules.paint,
        Movement(ANY_TURN, (0.3, 0.3), 0.35),
        Scanner(0.3, 0.35, 0.0, 0.05),
        erosion=0,
        clean=0.15,
        cut=0.0,
    ),
    HEAD_MR: Recipe(
        enhancement.paint,
        Movement(0.2, (0.1, 0.1), 0.18),
        Scanner(0.5, 0.35, 0.25, 0.05),
        erosion=3,
        clean=0.2,
        cut=0.1,
        untouched=enhancement.untouched,
    ),
}
