"""The simple rule that a family must be worth its cost against: a band of grey, opened. Nothing of it is learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from workers.segmentation.families import BODY_CT, BREAST_US, HEAD_MR, LIMB_MR, LUNG_CT, PET, Family
from workers.segmentation.framing import encode_uptake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.framing import FramedStack


@dataclass(frozen=True, slots=True)
class GreyBand:
    """What lies between two greys (0..1) of a framed stack, within its body, opened ``opening`` times in its slices."""

    name: str
    low: float
    high: float
    opening: int = 0

    def mask(self, stack: FramedStack) -> NDArray[np.bool_]:
        """Return the mask of a framed stack."""
        grey = (stack.images + 1.0) / 2.0
        found = (grey > self.low) & (grey < self.high) & stack.body
        if not self.opening:
            return found
        within = ndimage.generate_binary_structure(2, 1)[None]
        return np.asarray(ndimage.binary_opening(found, structure=within, iterations=self.opening), dtype=bool)


def _hounsfield(value: float) -> float:
    low, high = BODY_CT.window
    return (value - low) / (high - low)


SIMPLE_RULES: Mapping[Family, GreyBand] = {
    PET: GreyBand("SUV above 2.5", float(encode_uptake(np.array(2.5, np.float32), PET.window)), 2.0),
    BODY_CT: GreyBand("0 to 60 HU, opened", _hounsfield(0.0), _hounsfield(60.0), opening=2),
    LIMB_MR: GreyBand("the grey of muscle, opened", 0.15, 0.35, opening=4),
    LUNG_CT: GreyBand("bright, opened", 0.5, 2.0, opening=1),
    BREAST_US: GreyBand("dark", 0.0, 0.3),
    HEAD_MR: GreyBand("bright, opened", 0.5, 2.0, opening=2),
}
"""By family. Greys of the last four were set on the tuning part of the collections at hand."""
