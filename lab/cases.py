"""Labelled cases: an image and the expert's mask on one grid, and where to read them from.

A file of arrays (``.npz``) is read here; ``tables`` reads images listed in a table, ``dicom_cases`` DICOM series.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from zipfile import BadZipFile

import numpy as np

from lab.errors import UnreadableCase
from lab.patients import named
from storage.volumes import Geometry, Vector, Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    AnyArray = NDArray[np.generic]

USUAL_SPACING_MM = (5.0, 1.0, 1.0)
"""Taken where a case does not record its spacing (z, y, x)."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledCase:
    """One axial stack and the expert's mask, both ``[z, y, x]``; ``z`` to the head, ``y`` to the back.

    Cases of one ``patient`` are drawn together in every interval. ``spacing_known`` is False where the usual spacing
    was assumed, so that figures in millimetres and millilitres are rough.
    """

    name: str
    volume: Volume
    mask: NDArray[np.bool_]
    patient: str = ""
    spacing_known: bool = True


class CaseSource(Protocol):
    """A case that has been found and not been read yet."""

    @property
    def name(self) -> str:
        """Name the case as the report does."""
        ...

    @property
    def patient(self) -> str:
        """Name the patient, for cases that belong together."""
        ...

    def read(self) -> LabelledCase:
        """Read image and mask; raises UnreadableCase that names the file."""
        ...


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """An ``.npz`` file: ``flair`` or ``image``, ``mask`` and, where known, ``spacing_mm``."""

    path: Path
    modality: str = "MR"
    labelled: bool = True
    """Whether a mask must be there; else nothing is marked where it is not."""

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self.path.stem

    @property
    def patient(self) -> str:
        """What stands before the first double underscore of the name."""
        return named(self.path.stem)

    def read(self) -> LabelledCase:
        """Read the arrays; a single image ``[y, x]`` becomes a stack of one slice."""
        try:
            return self._read()
        except (BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
            raise UnreadableCase(f"{self.path.name} is not a readable .npz case") from error

    def _read(self) -> LabelledCase:
        with self.path.open("rb") as file, np.load(file) as arrays:
            key = "flair" if "flair" in arrays else "image"
            if key not in arrays or (self.labelled and "mask" not in arrays):
                raise UnreadableCase(f"{self.path.name} lacks flair or image{', or mask' * self.labelled}")
            image = arrays[key]
            mask = arrays["mask"] if "mask" in arrays else np.zeros(image.shape, dtype=bool)
            spacing = arrays.get("spacing_mm")
        voxels, marked = matched(image, mask, self.path.name)
        volume = as_volume(voxels, _spacing(spacing, self.path.name), modality=self.modality)
        return LabelledCase(self.name, volume, marked, self.patient, spacing_known=spacing is not None)


def read_case(path: Path) -> LabelledCase:
    """Read one ``.npz`` case; raises UnreadableCase where it is broken, or arrays are missing or do not match."""
    return ArrayFile(path).read()


def matched(image: AnyArray, mask: AnyArray, name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return image and mask as stacks of one shape; raises UnreadableCase that names the case where they are not.

    Every mask value above 0 counts as tumour.
    """
    voxels, marked = _stack(image), _stack(mask)
    if voxels.shape != marked.shape:
        raise UnreadableCase(f"{name}: image {voxels.shape} and mask {marked.shape} differ in shape")
    if voxels.ndim != 3 or voxels.size == 0:  # noqa: PLR2004 - [z, y, x]
        raise UnreadableCase(f"{name}: shape {voxels.shape}; expected [slices, rows, columns] or [rows, columns]")
    if not all(np.issubdtype(array.dtype, np.number) or array.dtype == bool for array in (voxels, marked)):
        raise UnreadableCase(f"{name}: image and mask must hold numbers")
    if np.issubdtype(marked.dtype, np.floating) and not np.isfinite(marked.astype(np.float64)).all():
        raise UnreadableCase(f"{name}: the mask holds values that are not finite")
    return voxels.astype(np.float32), np.asarray(marked.astype(np.float32) > 0)


def as_volume(voxels: NDArray[np.float32], spacing_mm: Vector, *, modality: str = "MR") -> Volume:
    """Wrap an axial stack that lies along the patient axes, without the DICOM frames that a stored series has."""
    geometry = Geometry((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), spacing_mm)
    return Volume(voxels, geometry, modality, "", "", None, ())


def _stack(array: AnyArray) -> AnyArray:
    return array[None] if array.ndim == 2 else array  # noqa: PLR2004 - a single slice [y, x]


def _spacing(recorded: AnyArray | None, name: str) -> Vector:
    """Check a recorded spacing: (z, y, x), or (y, x) of a single image."""
    if recorded is None:
        return USUAL_SPACING_MM
    steps = np.ravel(np.asarray(recorded, dtype=float)).tolist()
    if len(steps) == 2:  # noqa: PLR2004 - (y, x)
        steps = [USUAL_SPACING_MM[0], *steps]
    if len(steps) != 3 or not all(np.isfinite(step) and step > 0 for step in steps):  # noqa: PLR2004 - (z, y, x)
        raise UnreadableCase(f"{name}: spacing_mm must hold three positive numbers (z, y, x)")
    return (steps[0], steps[1], steps[2])
