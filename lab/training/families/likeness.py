"""Fit how a family knows its own training images, and measure whom it refuses: its own, and everybody else's.

The limits are set by leaving each patient out in turn, and by images of every other kind at hand, as if they had come
under the family's modality. No mask is read, and no test patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lab.cases import ArrayFile
from lab.patients import Role, role
from lab.segmentation.case_selection import sample
from lab.segmentation.tables import read_table
from lab.training.families import material, tuning
from workers.errors import UnsuitableVolume
from workers.segmentation import likeness
from workers.segmentation.framing import frame

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lab.cases import CaseSource
    from workers.segmentation.families import Family
    from workers.segmentation.likeness import TrainingLikeness
    from workers.segmentation.unet import UNet

    FloatArray = NDArray[np.float32]

FOLDS = 17
MOST_IMAGES = 80
"""Single images of each other collection that are looked at."""
MOST_OWN = 240
"""Single images of each collection of the family's own: eighty left room for five chest X-rays among the breasts."""
GIVEN_UP = 0.015
"""Share of a family's own cases that may be refused, where there are enough for one."""
ROOM = 1.25
"""Limits lie so far beyond the farthest patient who was left out, where other kinds leave as much room."""
STACKS: Mapping[str, str] = {"PET": "sarcoma-ct-pet-mr", "MR": "sarcoma-ct-pet-mr", "CT": "sarcoma-ct-pet-mr"}
FLAIR = "brain-mri-lgg"
PICTURES = (
    "brain-mri-t1c", "brain-mri-no-tumor", "lung-nodule-ct", "breast-ultrasound", "covid-xray", "lung-xray-children",
)  # fmt: skip # reads by its lines


@dataclass(frozen=True, slots=True)
class LikenessFigures:
    """Who is called unlike the training images: patients left out of it, and images of other kinds."""

    own: int
    own_refused: int
    others: int
    others_refused: int


@dataclass(frozen=True, slots=True, eq=False)
class _Described:
    patient: str
    rows: FloatArray


def fit(family: Family, network: UNet, data: Path) -> tuple[TrainingLikeness, LikenessFigures]:
    """Return how the family knows its own, with limits, and what these refuse."""
    own = list(_described(_own(family, data), family, network))
    left_out = _left_out(own)
    known = likeness.fit([one.rows for one in own])
    others = [known.distances(one.rows) for one in _described(_others(family, data), family, network)]
    strangers = np.asarray(others, dtype=np.float32).reshape(-1, 2)
    limits = _limits(left_out, strangers)
    own_refused = int((left_out > limits).any(axis=1).sum())
    others_refused = int((strangers > limits).any(axis=1).sum())
    figures = LikenessFigures(len(left_out), own_refused, len(strangers), others_refused)
    return replace(known, limits=limits), figures


def patients_of(family: Family, data: Path) -> set[str]:
    """Return the patients whose images the family knows as its own."""
    return {case.patient for case in _own(family, data)}


def _limits(own: FloatArray, others: FloatArray) -> FloatArray:
    """Return limits beyond the cases that were left out, half-way (in ratio) to the nearest strangers at most.

    Of many cases the farthest few are given up: one odd picture would let strangers in.
    """
    kept = 1.0 if len(own) * GIVEN_UP < 1 else 1.0 - GIVEN_UP
    farthest = np.quantile(own, kept, axis=0)
    nearest = float(np.quantile((others / farthest).max(axis=1), 0.01)) if len(others) else ROOM**2
    return np.asarray(farthest * min(ROOM, max(1.0, nearest) ** 0.5), dtype=np.float32)


def _left_out(own: Sequence[_Described]) -> FloatArray:
    """Return the distances of every case from a fit without its patient."""
    patients = sorted({one.patient for one in own})
    count = min(FOLDS, len(patients))
    found = []
    for fold in (frozenset(patients[start::count]) for start in range(count)):
        known = likeness.fit([one.rows for one in own if one.patient not in fold])
        found += [known.distances(one.rows) for one in own if one.patient in fold]
    return np.asarray(found, dtype=np.float32)


def _described(cases: Sequence[CaseSource], family: Family, network: UNet) -> Iterator[_Described]:
    """Describe every case, all as if they were of the family's modality; what cannot be framed is left out."""
    for case in cases:
        volume = replace(case.read().volume, modality=min(family.modalities))
        try:
            stack = frame(volume, family)
        except UnsuitableVolume:
            continue
        yield _Described(case.patient, likeness.describe(network, stack, family))


def _own(family: Family, data: Path) -> list[CaseSource]:
    kinds = tuning.KINDS[family]
    stacks = [case for kind in kinds if kind.suffix for case in _stacks(data, kind.folder, kind.suffix)]
    folders = dict.fromkeys(kind.folder for kind in kinds if not kind.suffix)
    return stacks + [case for folder in folders for case in _pictures(data, folder, MOST_OWN)]


def _others(family: Family, data: Path) -> list[CaseSource]:
    """Return images of other kinds; those without tumour that the family is trained on are none of them."""
    own = {(kind.folder, kind.suffix) for kind in tuning.KINDS[family]}
    folders = {folder for folder, _ in own} | {source.folder for source in material.listed(family) if not source.suffix}
    found = [case for suffix, at in STACKS.items() if (at, suffix) not in own for case in _stacks(data, at, suffix)]
    found += [case for at in PICTURES if at not in folders for case in _pictures(data, at, MOST_IMAGES)]
    return found + _stacks(data, FLAIR)


def _stacks(data: Path, folder: str, suffix: str = "") -> list[CaseSource]:
    pattern = f"*__{suffix}.npz" if suffix else "*.npz"
    found = (ArrayFile(path, labelled=False) for path in sorted((data / folder).glob(pattern)))
    return [case for case in found if role(case.patient) is not Role.TEST]


def _pictures(data: Path, folder: str, most: int) -> list[CaseSource]:
    if not (data / folder).is_dir():
        return []
    found = read_table(data / folder, where=(), modality="OT", masked=False)
    return sample([case for case in found if role(case.patient) is not Role.TEST], most)
