"""Which cases are evaluated: what a folder holds, narrowed down by what was asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cases import ArrayFile, CaseSource
from lab.patients import PART_MARK, Role, is_seen, is_tuned_on, read_left_out, read_seen, role
from lab.segmentation.dicom_cases import find_dicom_cases
from lab.segmentation.tables import TABLE_NAME, read_table
from storage.errors import ConfigurationError
from workers.errors import TrainingDataMissing

MODALITY_OF_PART = {"CT": "CT", "MR": "MR", "PET": "PT", "PT": "PT", "US": "US"}
"""How the names of files ``PATIENT__PART.npz`` tell apart what one patient was examined with."""


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """What to take of a folder.

    ``where`` holds (column, value) pairs for images that a table lists. ``modality`` is that of files which do not say
    it themselves. ``seen_too`` takes patients whom the weights have seen, too; ``tuning_only`` takes those alone on
    whose tumours thresholds may be fixed. At most ``limit`` cases are taken.
    """

    modality: str = "MR"
    where: tuple[tuple[str, str], ...] = ()
    seen_too: bool = False
    tuning_only: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The cases to evaluate and, apart from them, those of the patients on whom thresholds may be fixed."""

    evaluated: list[CaseSource]
    tuning: list[CaseSource]


def select_cases(folder: Path, wanted: CaseFilter, *, weights: Path) -> Selection:
    """Select the cases to evaluate, and read each once, so that a broken one is named before hours have gone by.

    ``weights`` is the folder that says whom the weights have seen. Raises as ``find_cases`` and ``CaseSource.read`` do.
    """
    found = find_cases(folder, wanted)
    seen = read_seen(weights)
    evaluated = found if wanted.seen_too else kept_out(found, seen)
    if wanted.tuning_only:
        evaluated = _tuning_part(found, weights)
    if wanted.limit is not None:
        evaluated = sample(evaluated, wanted.limit)
    for source in evaluated:
        source.read()
    return Selection(evaluated, [source for source in tuning(found, seen) if source not in evaluated])


def find_cases(folder: Path, wanted: CaseFilter | None = None) -> list[CaseSource]:
    """List a folder's cases: a table of images, ``.npz`` files, or DICOM series with segmentations.

    Raises TrainingDataMissing where there is none, UnreadableCase where the table or a file cannot be read.
    """
    wanted = wanted or CaseFilter()
    has_table = (folder / TABLE_NAME).is_file()
    if wanted.where and not has_table:
        raise ConfigurationError(f"{folder.name} has no {TABLE_NAME}: there are no columns to choose cases by")
    found = _everything(folder, wanted, has_table=has_table)
    if not found:
        raise TrainingDataMissing(
            f"no case in {folder.name}: expected .npz files with flair or image and mask, {TABLE_NAME}, "
            "or DICOM series with segmentations; or nothing has the wanted values"
        )
    return found


def kept_out(found: Sequence[CaseSource], seen: frozenset[str]) -> list[CaseSource]:
    """Return the cases of patients whom the weights have not seen; all of them where every patient has been.

    ``seen`` holds the digests that ``patients.read_seen`` finds beside the weights.
    """
    return [source for source in found if not is_seen(source.patient, seen)] or list(found)


def tuning(found: Sequence[CaseSource], seen: frozenset[str]) -> list[CaseSource]:
    """Return the cases of the patients on whom thresholds were fixed."""
    return [source for source in found if role(source.patient) is Role.TUNE and is_seen(source.patient, seen)]


def sample(found: Sequence[CaseSource], limit: int) -> list[CaseSource]:
    """Return ``limit`` of the cases, the same ones every time: those whose names have the lowest digests."""
    order = sorted(range(len(found)), key=lambda index: hashlib.sha256(found[index].name.encode()).digest())
    return [found[index] for index in sorted(order[:limit])]


def _tuning_part(found: Sequence[CaseSource], weights: Path) -> list[CaseSource]:
    """Return the cases on which thresholds may be fixed: of weights with folds, all whom a network was left without."""
    folds = read_left_out(weights).values()
    if not folds:
        return [source for source in found if is_tuned_on(source.patient)]
    left_out = frozenset().union(*folds)
    return [source for source in found if is_seen(source.patient, left_out)]


def _everything(folder: Path, wanted: CaseFilter, *, has_table: bool) -> list[CaseSource]:
    if has_table:
        return list(read_table(folder, where=wanted.where, modality=wanted.modality))
    paths = (path for path in sorted(folder.glob("*.npz")) if _may_hold(path.stem, wanted.modality))
    arrays = [ArrayFile(path, wanted.modality) for path in paths]
    return list(arrays) if arrays else list(find_dicom_cases(folder))


def _may_hold(stem: str, modality: str) -> bool:
    """Return whether a file ``PATIENT__PART`` may hold images of a modality: its part does not name another one."""
    named = MODALITY_OF_PART.get(stem.partition(PART_MARK)[2])
    return named is None or named == modality
