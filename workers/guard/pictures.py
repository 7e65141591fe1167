"""From a volume to the few small pictures that the guard looks at.

Planes are float32 ``[y, x]``, pictures uint8 ``[side, side, 3]``: square, grey, the plane's longer side filling them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import float32, intp, uint8
from numpy.typing import NDArray
from PIL import Image

from storage.volumes import Volume
from workers.fewshot.contracts import Picture

MOST_PICTURES = 5
"""Slices of a volume that are looked at, spread over it."""
SIDE = 126
"""Pixels: nine of the encoder's patches each way. A region needs no more, and it costs half of the usual size."""
_ENDS = 0.12
"""Share of the stack at each end that is left out: tops of heads and half-empty slices tell little."""
_BLACK, _WHITE = 1.0, 99.5
"""Percentiles of the volume's values."""
_HU = (-1000.0, 1000.0)
"""Of CT values only these count: padding lies below, metal above."""
_LEAST_CONTRAST = 0.02
"""Standard deviation, of a picture in 0..1, under which a slice shows nothing."""
_SAMPLED = 1_000_000
"""Voxels that the percentiles are taken from, at most."""


@dataclass(frozen=True, slots=True)
class GreyWindow:
    """Values that become black and white."""

    low: float
    high: float

    def grey(self, plane: NDArray[float32]) -> NDArray[float32]:
        """Return a plane in 0..1; values that are not finite count as black."""
        finite = np.nan_to_num(plane, nan=self.low, posinf=self.high, neginf=self.low)
        return np.asarray(np.clip((finite - self.low) / max(self.high - self.low, 1e-6), 0.0, 1.0), dtype=float32)


def window_of(voxels: NDArray[float32], modality: str) -> GreyWindow:
    """Return the window of a whole volume ``[z, y, x]``, from its own values."""
    sampled = voxels.ravel()[:: max(1, voxels.size // _SAMPLED)]
    sampled = sampled[np.isfinite(sampled)]
    if modality == "CT":
        sampled = np.clip(sampled, *_HU)
    if not len(sampled):
        return GreyWindow(0.0, 1.0)
    low, high = (float(value) for value in np.percentile(sampled, (_BLACK, _WHITE)))
    return GreyWindow(low, high)


def spread_slices(count: int, *, most: int = MOST_PICTURES) -> NDArray[intp]:
    """Return the numbers of up to ``most`` slices, spread evenly over a stack of ``count`` without its ends."""
    ends = _ENDS * (count - 1)
    return np.unique(np.round(np.linspace(ends, count - 1 - ends, most)).astype(intp))


def pictures_of(volume: Volume) -> tuple[Picture, ...]:
    """Return the pictures of a volume, or the one of an image; slices that show nothing are left out."""
    window = window_of(volume.voxels, volume.modality)
    planes = [window.grey(volume.voxels[z]) for z in spread_slices(len(volume.voxels))]
    return tuple(as_picture(grey) for grey in planes if float(grey.std()) >= _LEAST_CONTRAST)


def as_picture(grey: NDArray[float32]) -> Picture:
    """Return a plane in 0..1 as a square picture, black where the plane does not reach."""
    image = Image.fromarray(np.asarray(np.round(grey * 255), dtype=uint8))
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = Image.new("L", (SIDE, SIDE))
    square.paste(image.resize(size, Image.Resampling.BICUBIC), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.repeat(np.asarray(square)[..., None], 3, axis=2)
