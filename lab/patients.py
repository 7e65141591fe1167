"""The split of patients, by the digest of their names: by patient, never by image, and the same for any set of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from workers.errors import WeightsMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TEST_BELOW, TUNE_BELOW = 7424, 14706
"""Of 65 536: first two bytes of the digests of the patients who are kept out, and then of those who fix thresholds. Of
``brain-mri-lgg`` these are 13 and 8 of 61."""
PART_MARK = "__"
"""What follows in a file's name tells several files of one patient apart."""
WHOLE_BELOW = 171
"""Of 256: last byte of the digest of the names of patients whose stacks are seen whole."""
SEEN_FILE = "patients.json"
"""Beside the weights: digests of the names of the patients who trained or tuned them."""


class Role(StrEnum):
    """What a patient's images may be used for."""

    TRAIN = "train"
    TUNE = "tune"
    TEST = "test"


def named(file_stem: str) -> str:
    """Return the patient whom a file ``PATIENT.npz`` or ``PATIENT__x.npz`` shows."""
    return file_stem.partition(PART_MARK)[0]


def role(patient: str) -> Role:
    """Return what a patient's images may be used for."""
    place = int.from_bytes(_digest(patient)[:2])
    if place < TEST_BELOW:
        return Role.TEST
    return Role.TUNE if place < TUNE_BELOW else Role.TRAIN


def is_seen_whole(patient: str) -> bool:
    """Return whether training uses all slices of a training patient, those with tumour too (without their masks).

    It does of about two thirds, by the digest of their names. The tumours of the others are seen by no training, so
    that the mask rule is chosen on unseen tumours too.
    """
    return role(patient) is Role.TRAIN and _digest(patient)[-1] < WHOLE_BELOW


def is_tuned_on(patient: str) -> bool:
    """Return whether thresholds may be fixed on a patient's tumours, which no training has seen then.

    They may on those of tuning patients, and of training patients who are not seen whole.
    """
    part = role(patient)
    return part is Role.TUNE or (part is Role.TRAIN and not is_seen_whole(patient))


def by_digest(patients: Iterable[str]) -> list[str]:
    """Return patients in the order of their names' digests, which has nothing to do with the names."""
    return sorted(patients, key=_digest)


def write_seen(patients: Iterable[str], folder: Path, *, left_out: Mapping[str, Iterable[str]] | None = None) -> None:
    """Record who trained or tuned the weights of a folder, by digest: names are nobody else's business.

    ``left_out`` says by the name of a network's file which of them that network was trained without.
    """
    content: dict[str, Any] = {"format": 1, "seen": _hidden(patients)}
    if left_out:
        content["left_out"] = {file: _hidden(names) for file, names in sorted(left_out.items())}
    (folder / SEEN_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")


def read_seen(folder: Path) -> frozenset[str]:
    """Read the digests of the patients who trained or tuned the weights of a folder; none where it says nothing."""
    content = _read(folder)
    return frozenset() if content is None else content.seen


def read_left_out(folder: Path) -> Mapping[str, frozenset[str]]:
    """Read for each network's file the digests of the patients it was trained without; empty where all saw everyone."""
    content = _read(folder)
    return {} if content is None else content.left_out


def is_seen(patient: str, seen: frozenset[str]) -> bool:
    """Return whether a patient is among those whom ``read_seen`` returned."""
    return _digest(patient).hex() in seen


@dataclass(frozen=True, slots=True)
class _Record:
    seen: frozenset[str]
    left_out: Mapping[str, frozenset[str]]


def _read(folder: Path) -> _Record | None:
    try:
        content = json.loads((folder / SEEN_FILE).read_bytes())
        left_out = {file: frozenset(map(str, names)) for file, names in content.get("left_out", {}).items()}
        return _Record(frozenset(map(str, content["seen"])), left_out)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsMismatch(f"{SEEN_FILE} of {folder.name} cannot be read: restore the folder") from error


def _hidden(patients: Iterable[str]) -> list[str]:
    return sorted(_digest(patient).hex() for patient in patients)


def _digest(patient: str) -> bytes:
    return hashlib.sha256(patient.encode()).digest()
