"""Drawn abdomens in CT whose liver tumour has the grey of the spleen: no grey level finds it, and no band of greys.

They have fat, a liver, a spleen and a vertebra; what is wanted is drawn before the noise, so that an abdomen with and
one without a tumour are the same but for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from storage.volumes import FrameRef, Geometry, Volume

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

SHAPE = (24, 56, 56)
SPACING_MM = (4.0, 2.5, 2.5)
WINDOW_HU = (-160.0, 240.0)
"""Greys that models are shown as black and white."""
SMOOTHING_MM = 4.0
"""What the segmenter smooths its attention by; fixed levels are tried on greys smoothed alike, too."""
_AIR, _FAT, _LIVER, _SOFT, _BONE = -1000.0, -60.0, 110.0, 40.0, 180.0
_NOISE_HU = 12.0
_LEVELS = 81


@dataclass(frozen=True, slots=True, eq=False)
class Abdomen:
    """Hounsfield units ``[z, y, x]`` of a volume, slices to the head, rows to the back, and where its tumour is."""

    volume: Volume
    mask: BoolArray

    @property
    def grey(self) -> FloatArray:
        """Return the grey 0..1 that a model is shown."""
        low, high = WINDOW_HU
        return np.asarray(np.clip((self.volume.voxels - low) / (high - low), 0.0, 1.0), dtype=np.float32)

    @property
    def smoothed(self) -> FloatArray:
        """Return the grey smoothed as the segmenter smooths attention."""
        return np.asarray(ndimage.gaussian_filter(self.grey, [SMOOTHING_MM / step for step in SPACING_MM]))


def abdomen(seed: int, *, tumour: bool = True) -> Abdomen:
    """Draw an abdomen; ``seed`` moves and sizes everything in it."""
    draw = np.random.default_rng(seed)
    voxels = np.full(SHAPE, _AIR)
    voxels[_ellipsoid((0, 0, 0), (60, 60, 52))] = _FAT
    voxels[_ellipsoid((0, 40 + draw.uniform(-2, 2), 0), (1000, 11, 11)) & (voxels > _AIR)] = _BONE
    spleen = np.array([6, 12, 31]) + draw.uniform(-4, 4, 3)
    voxels[_ellipsoid(spleen, np.array([24, 17, 11]) + draw.uniform(-2, 2, 3))] = _SOFT + draw.uniform(-10, 10)
    centre = np.array([0, -4, -16]) + draw.uniform(-5, 5, 3)  # on the patient's right, a little to the front
    voxels[_ellipsoid(centre, np.array([34, 34, 28]) + draw.uniform(-3, 3, 3))] = _LIVER + draw.uniform(-10, 10)
    inside = _ellipsoid(centre + draw.uniform(-11, 11, 3), np.full(3, draw.uniform(10, 14)))
    grey = _SOFT + draw.uniform(-10, 10)
    if tumour:
        voxels[inside] = grey
    noisy = np.rint(voxels + draw.normal(0, _NOISE_HU, SHAPE)).astype(np.float32)
    return Abdomen(_volume(seed, noisy), inside & tumour)


def _volume(seed: int, voxels: FloatArray) -> Volume:
    geometry = Geometry((-70.0, -70.0, -46.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), SPACING_MM)
    frames = tuple(FrameRef(f"1.2.{seed}.{z}", "1.2.840.10008.5.1.4.1.1.2", None, "") for z in range(SHAPE[0]))
    return Volume(voxels, geometry, "CT", f"1.2.{seed}", f"1.2.{seed}.1", None, frames)


def _ellipsoid(centre_mm: object, radii_mm: object) -> BoolArray:
    """Return where an ellipsoid lies; millimetres along z, y, x from the middle of the grid."""
    middle = (np.array(SHAPE) - 1) / 2
    places = (np.moveaxis(np.indices(SHAPE), 0, -1) - middle) * SPACING_MM
    inside: BoolArray = (((places - np.asarray(centre_mm)) / np.asarray(radii_mm)) ** 2).sum(axis=-1) <= 1
    return inside


def best_level(greys: Iterable[FloatArray], masks: Iterable[BoolArray]) -> float:
    """Return the mean Dice of the one level, above or below which, that suits all of these best, told the truth."""
    pairs = list(zip(greys, masks, strict=True))
    return max(
        float(np.mean([dice(grey > level if above else grey < level, mask) for grey, mask in pairs]))
        for level in np.linspace(0.0, 1.0, _LEVELS)
        for above in (True, False)
    )


def best_band(greys: Iterable[FloatArray], masks: Iterable[BoolArray]) -> float:
    """Return the mean Dice of the one band of greys that suits all of these best, told the truth."""
    pairs = list(zip(greys, masks, strict=True))
    levels = np.linspace(0.0, 1.0, _LEVELS // 2 + 1)
    return max(
        float(np.mean([dice((grey > low) & (grey < high), mask) for grey, mask in pairs]))
        for index, low in enumerate(levels)
        for high in levels[index + 1 :]
    )


def dice(found: BoolArray, true: BoolArray) -> float:
    """Return the overlap of two masks, 1 where both are empty."""
    both = int(found.sum()) + int(true.sum())
    return 1.0 if both == 0 else 2.0 * int((found & true).sum()) / both
