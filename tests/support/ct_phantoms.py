"""A drawn abdomen in CT: a body, a liver in it and, where wanted, a tumour in the liver. As a volume, or as DICOM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy import float32, uint8, uint16
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from storage.volumes import FrameRef, Geometry, Vector, Volume
from tests.support.dicom import SeriesPlan, series

LIVER, TUMOUR = 1, 2
SHAPE = (24, 56, 56)
SPACING_MM = (4.0, 2.5, 2.5)
_AIR, _FAT, _LIVER, _TUMOUR = -1000.0, -60.0, 110.0, 40.0
_NOISE_HU = 12.0
_INTERCEPT = -1024.0


@dataclass(frozen=True, slots=True, eq=False)
class CtPhantom:
    """Whole Hounsfield units float32 and labels uint8, ``[z, y, x]``: slices to the head, rows to the back."""

    seed: int
    voxels: NDArray[float32]
    labels: NDArray[uint8]

    @property
    def volume(self) -> Volume:
        """The phantom as an axial stack."""
        geometry = Geometry((-70.0, -70.0, -46.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), SPACING_MM)
        frames = tuple(FrameRef(f"1.2.{self.seed}.{z}", "1.2.840.10008.5.1.4.1.1.2", None, "") for z in range(SHAPE[0]))
        return Volume(self.voxels, geometry, "CT", f"1.2.{self.seed}", f"1.2.{self.seed}.1", None, frames)

    def study(self, key: str = "abdomen") -> list[Dataset]:
        """Return the phantom as a series of CT images of a study of its own; ``key`` makes the UIDs."""
        plan = _PhantomPlan(key=f"{key}-{self.seed}", study=f"{key}-{self.seed}", stored=self.voxels - _INTERCEPT)
        images = series(plan)
        for image in images:
            image.BodyPartExamined, image.RescaleType = "ABDOMEN", "HU"
        return images


@dataclass(frozen=True, slots=True)
class _PhantomPlan(SeriesPlan):
    modality: str = "CT"
    description: str = "ABDOMEN PORTAL VENOUS"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    shape: tuple[int, int, int] = SHAPE
    spacing_mm: tuple[float, float, float] = SPACING_MM
    origin_mm: tuple[float, float, float] = (-70.0, -70.0, -46.0)
    intercept: float = _INTERCEPT
    stored: NDArray[float32] = field(default_factory=lambda: np.zeros(SHAPE, float32))

    def values(self) -> NDArray[np.uint16]:
        return self.stored.astype(uint16)


def ct_phantom(seed: int, *, tumour: bool = True) -> CtPhantom:
    """Draw an abdomen; ``seed`` moves and sizes everything in it."""
    draw = np.random.default_rng(seed)
    voxels, labels = np.full(SHAPE, _AIR), np.zeros(SHAPE, uint8)
    voxels[_ellipsoid((0, 0, 0), (60, 60, 52))] = _FAT
    centre = np.array([0, -4, -16]) + draw.uniform(-5, 5, 3)  # on the patient's right, a little to the front
    liver = _ellipsoid(centre, np.array([34, 34, 28]) + draw.uniform(-3, 3, 3))
    voxels[liver], labels[liver] = _LIVER + draw.uniform(-10, 10), LIVER
    if tumour:
        inside = _ellipsoid(centre + draw.uniform(-11, 11, 3), np.full(3, draw.uniform(10, 14)))
        voxels[inside], labels[inside] = _TUMOUR + draw.uniform(-10, 10), TUMOUR
    noisy = np.maximum(np.rint(voxels + draw.normal(0, _NOISE_HU, SHAPE)), _INTERCEPT)
    return CtPhantom(seed, noisy.astype(float32), labels)


def turned(volume: Volume, order: tuple[int, int, int], flipped: tuple[bool, bool, bool]) -> Volume:
    """Return the same scan stored otherwise: with its axes in another order, and some of them the other way round."""
    at = volume.geometry
    steps = np.array([at.slice_direction, at.column_direction, at.row_direction])
    ends = np.array(volume.voxels.shape) - 1
    axes = tuple(axis for axis, flip in zip(range(3), flipped, strict=True) if flip)
    voxels = np.ascontiguousarray(np.flip(volume.voxels.transpose(order), axes))
    origin, directions = np.array(at.origin_mm), []
    for axis, flip in zip(order, flipped, strict=True):
        origin = origin + steps[axis] * (at.spacing_mm[axis] * ends[axis] if flip else 0)
        directions.append(steps[axis] * (-1 if flip else 1))
    slices, columns, rows = map(_vector, directions)
    spacing = _vector([at.spacing_mm[axis] for axis in order])
    return replace(volume, voxels=voxels, geometry=Geometry(_vector(origin), rows, columns, slices, spacing))


def _vector(values: Iterable[float]) -> Vector:
    first, second, third = map(float, values)
    return first, second, third


def _ellipsoid(centre_mm: object, radii_mm: object) -> NDArray[np.bool_]:
    """Return where an ellipsoid lies; millimetres along z, y, x from the middle of the grid."""
    middle = (np.array(SHAPE) - 1) / 2
    places = (np.moveaxis(np.indices(SHAPE), 0, -1) - middle) * SPACING_MM
    inside: NDArray[np.bool_] = (((places - np.asarray(centre_mm)) / np.asarray(radii_mm)) ** 2).sum(axis=-1) <= 1
    return inside
