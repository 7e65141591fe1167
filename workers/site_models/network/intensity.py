"""Bring grey values to what a network was trained on; what is counted is counted over the whole volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import float32, float64

from workers.errors import UnsuitableVolume
from workers.site_models.model_file import InputSection, Intensity

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GreyScale:
    """A linear scale: ``(value - zero) / unit``, held within 0..1 where ``clipped``.

    ``outside`` is the scaled value of what lies beyond the volume, where a network needs more voxels than there are.
    """

    zero: float = 0.0
    unit: float = 1.0
    clipped: bool = False
    outside: float = 0.0

    def apply(self, voxels: NDArray[float32]) -> NDArray[float32]:
        """Return scaled voxels, a new array unless nothing changes."""
        if self.zero == 0.0 and self.unit == 1.0 and not self.clipped:
            return voxels
        scaled = np.subtract(voxels, float32(self.zero), dtype=float32)
        scaled /= float32(self.unit)
        return np.clip(scaled, 0, 1, out=scaled) if self.clipped else scaled


def grey_scale(voxels: NDArray[float32], wanted: InputSection) -> GreyScale:
    """Return the scale for a whole volume; UnsuitableVolume where it has no contrast to be scaled by."""
    low, high = wanted.range or (0.0, 1.0)
    if wanted.intensity is Intensity.NONE:
        return GreyScale(outside=float(np.min(voxels)))
    if wanted.intensity is Intensity.Z_SCORE:
        return GreyScale(float(voxels.mean(dtype=float64)), _unit(float(voxels.std(dtype=float64))))
    if wanted.intensity is Intensity.PERCENTILES:
        low, high = (float(value) for value in np.percentile(voxels, (low, high)))
    return GreyScale(low, _unit(high - low), clipped=True)


def _unit(width: float) -> float:
    if not width > 0:
        raise UnsuitableVolume("the grey values of the volume do not differ, so they cannot be scaled: nothing to see")
    return width
