"""Labelled cases on disk: ``.npz`` with ``flair`` or ``image``, ``mask`` and, where known, ``spacing_mm``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from storage.domain import Geometry, Vector, Volume
from workers.errors import TrainingDataMissing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

USUAL_SPACING_MM = (5.0, 1.0, 1.0)
"""Taken where a case does not record its spacing (z, y, x)."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One patient's axial stack and the expert's mask, both ``[z, y, x]``; ``z`` to the head, ``y`` to the back."""

    name: str
    volume: Volume
    mask: NDArray[np.bool_]


def list_cases(folder: Path) -> list[Path]:
    """List the case files of a folder; raises TrainingDataMissing where there is none."""
    found = sorted(folder.glob("*.npz"))
    if not found:
        raise TrainingDataMissing(f"no .npz case in {folder.name}: expected flair or image, and mask")
    return found


def read_case(path: Path) -> Case:
    """Read one case; raises TrainingDataMissing where the file is broken, or arrays are missing or do not match."""
    try:
        return _read(path)
    except (BadZipFile, ValueError, OSError) as error:
        raise TrainingDataMissing(f"{path.name} is not a readable .npz case") from error


def _read(path: Path) -> Case:
    with np.load(path) as arrays:
        key = "flair" if "flair" in arrays else "image"
        if key not in arrays or "mask" not in arrays:
            raise TrainingDataMissing(f"{path.name} lacks flair or image, or mask")
        voxels, mask = _stack(arrays[key]), _stack(arrays["mask"])
        spacing = tuple(float(step) for step in arrays["spacing_mm"]) if "spacing_mm" in arrays else USUAL_SPACING_MM
    if voxels.shape != mask.shape:
        raise TrainingDataMissing(f"{path.name}: image {voxels.shape} and mask {mask.shape} differ in shape")
    return Case(
        path.stem, as_volume(voxels.astype(np.float32), (spacing[0], spacing[1], spacing[2])), mask.astype(bool)
    )


def as_volume(voxels: NDArray[np.float32], spacing_mm: Vector, *, modality: str = "MR") -> Volume:
    """Wrap an axial stack that lies along the patient axes, without the DICOM frames that a stored series has."""
    geometry = Geometry((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), spacing_mm)
    return Volume(voxels, geometry, modality, "", "", None, ())


def _stack(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return array[None] if array.ndim == 2 else array  # noqa: PLR2004 - a single slice [y, x]
