"""Pixels that are no image: declared padding, and a border that one value fills although nobody declared it.

Scanners and archives fill what they did not measure: corners outside a round field of view, margins of a square
matrix. Left in, such a value counts as the brightest or darkest tissue there is, and every statistic is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy import ndimage

PADDING_KEYWORDS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelRepresentation",
    "BitsAllocated",
    "BitsStored",
)
_FAR_ABOVE = 0.05
"""A border this share of the image's range above its darkest pixel is padding, not air."""
_FAR_BELOW = 0.5
"""The same below it, where more is usual: what was cut out of an image is often laid on zero."""


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


def undeclared_border(voxels: NDArray[float32]) -> NDArray[bool_] | None:
    """Return where one value fills the border of every slice and is far from the darkest of the rest, or None.

    ``voxels`` are ``[z, y, x]``. Only what hangs together with the border counts, so the same value inside stays.
    """
    value = voxels[0, 0, 0]
    edges = (voxels[:, 0], voxels[:, -1], voxels[:, :, 0], voxels[:, :, -1])
    if not all((edge == value).all() for edge in edges):
        return None
    same = voxels == value
    rest = voxels[~same]
    if not rest.size:
        return None
    lowest, highest = float(rest.min()), float(rest.max())
    above = float(value) - lowest
    if -_FAR_BELOW * (highest - lowest) <= above <= _FAR_ABOVE * (highest - lowest):
        return None
    return np.stack([_touching_the_edge(plane) for plane in same])


def _touching_the_edge(plane: NDArray[bool_]) -> NDArray[bool_]:
    labels, _ = ndimage.label(plane)
    edge = np.unique(np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1])))
    return np.asarray(np.isin(labels, edge[edge > 0]), dtype=bool)
