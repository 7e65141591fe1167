"""A drawn thigh with a tumour in its muscle, as CT, MR (T1) or PET: as a volume, or as a DICOM series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

from lab.cases import as_volume
from storage.volumes import Volume
from tests.support.dicom import SeriesPlan, series
from tests.support.nuclear import SUV_FACTOR, pet

SPACING_MM = (4.0, 2.0, 2.0)
SHAPE = (30, 96, 96)
AIR, FAT, MUSCLE, BONE, MARROW, TUMOUR = range(6)
VALUES: Mapping[str, tuple[float, ...]] = {
    "CT": (-1000.0, -100.0, 55.0, 900.0, 80.0, 35.0),
    "MR": (0.0, 900.0, 260.0, 40.0, 800.0, 300.0),
    "PT": (0.0, 0.25, 0.6, 0.4, 0.9, 9.0),
}
NOISE: Mapping[str, float] = {"CT": 10.0, "MR": 18.0, "PT": 0.04}
BLUR_MM: Mapping[str, float] = {"CT": 1.0, "MR": 1.0, "PT": 3.0}


@dataclass(frozen=True, slots=True, eq=False)
class LimbPhantom:
    """One drawing: its modality, its values (HU, SUV, or plain) float32 ``[z, y, x]``, and where the tumour lies."""

    modality: str
    voxels: NDArray[float32]
    tumour: NDArray[bool_]

    @property
    def volume(self) -> Volume:
        """The phantom as an axial stack."""
        return as_volume(self.voxels, SPACING_MM, modality=self.modality)

    def study(self, key: str) -> list[Dataset]:
        """Return the phantom as a series of the study ``key``, which says that it shows a thigh."""
        offset, step = {"CT": (-1024.0, 1.0), "MR": (0.0, 1.0), "PT": (0.0, 0.01)}[self.modality]
        stored = np.clip((self.voxels - offset) / step, 0, 60_000)
        slope = step / SUV_FACTOR if self.modality == "PT" else step
        names = {"CT": "CT AC", "MR": "AX T1", "PT": "PET AC"}
        plan = _Plan(
            key=f"{key}-{self.modality}", study=key, modality=self.modality, description=names[self.modality],
            slope=slope, intercept=offset, stored=stored,
        )  # fmt: skip # reads by its lines
        images = pet(plan) if self.modality == "PT" else series(plan)
        for image in images:
            image.BodyPartExamined = "THIGH"
        return images


@dataclass(frozen=True, slots=True)
class _Plan(SeriesPlan):
    shape: tuple[int, int, int] = SHAPE
    spacing_mm: tuple[float, float, float] = SPACING_MM
    stored: NDArray[float32] = field(default_factory=lambda: np.zeros(SHAPE, float32))

    def values(self) -> NDArray[np.uint16]:
        return self.stored.astype(np.uint16)


def limb_phantom(modality: str, *, seed: int = 0, tumour: bool = True) -> LimbPhantom:
    """Draw a thigh that narrows downwards; the same seed gives the same drawing in each modality."""
    generator = np.random.default_rng(seed)
    z, y, x = (axis * step for axis, step in zip(np.indices(SHAPE), SPACING_MM, strict=True))
    y, x = y - SHAPE[1], x - SHAPE[2]
    radius = 68.0 + 0.15 * z
    away = np.hypot(y, 1.08 * x) + 3.0 * np.sin(3 * np.arctan2(y, x))
    tissue = np.full(SHAPE, AIR)
    tissue[away < radius] = FAT
    tissue[away < radius - 11.0] = MUSCLE
    angle = np.arctan2(y - 8.0, x)
    planes = np.abs(np.sin(4.5 * angle + 0.03 * away)) < 0.09
    tissue[planes & (tissue == MUSCLE) & (away > 20.0)] = FAT
    tissue[np.hypot(y - 8.0, x) < 14.0] = BONE
    tissue[np.hypot(y - 8.0, x) < 7.0] = MARROW
    middle = 0.5 * SHAPE[0] * SPACING_MM[0]
    mass = ((z - middle) / 32.0) ** 2 + ((y + 28.0) / 20.0) ** 2 + ((x + 12.0) / 26.0) ** 2 < 1.0
    mass &= tumour
    tissue[mass & (tissue != BONE) & (tissue != MARROW)] = TUMOUR
    values = np.asarray(VALUES[modality])[tissue]
    values = ndimage.gaussian_filter(values, [BLUR_MM[modality] / step for step in SPACING_MM])
    noise = ndimage.gaussian_filter(generator.normal(size=SHAPE), (0.0, 0.7, 0.7)) * 2.0 * NOISE[modality]
    return LimbPhantom(modality, (values + noise).astype(float32), tissue == TUMOUR)
