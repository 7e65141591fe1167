"""Pixels that are no image by the image's own word: PixelPaddingValue and its range limit (PS3.3 C.7.5.1.1.2).

Scanners and archives fill what they did not measure: corners outside a round field of view, margins of a square
matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import bool_
from numpy.typing import NDArray
from pydicom.dataset import Dataset

PADDING_KEYWORDS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "BitsAllocated",
    "BitsStored",
)


@dataclass(frozen=True, slots=True)
class Padding:
    """Stored values, from lowest to highest, that stand for no image (PS3.3 C.7.5.1.1.2)."""

    lowest: int
    highest: int

    def covers(self, stored: NDArray[np.integer[Any]]) -> NDArray[bool_]:
        """Tell which stored values of a frame are padding."""
        return np.asarray((stored >= self.lowest) & (stored <= self.highest), dtype=bool)


def read_padding(dataset: Dataset) -> Padding | None:
    """Return the padding that a header declares, or None. Call it inside ``parsing``."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(end, dataset) for end in (value, limit if isinstance(limit, int) else value)]
    return Padding(min(ends), max(ends))


def _as_stored(value: int, dataset: Dataset) -> int:
    """Read a value with the sign of the pixels: many writers give a negative one the VR of an unsigned one."""
    bits = int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 16)
    if int(dataset.get("PixelRepresentation") or 0) == 0:
        return value & ((1 << bits) - 1) if value < 0 else value
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low
