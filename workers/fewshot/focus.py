"""Where the backbone looks: a square cut-out of each slice around the lesion. Arrays are ``[z, y, x]``."""

from __future__ import annotations

import numpy as np
from numpy import bool_, float32, intp
from numpy.typing import NDArray
from scipy import ndimage

MARGIN = 1.5
"""Side of the cut-out as a multiple of the longer side of the lesion."""
SIDE = 128
"""Pixels along each side of the picture that the backbone sees."""
MOST_SLICES = 3
LEAST_PIXELS = 12
"""A lesion that is smaller than this on its largest slice has too little texture to be labelled."""
MODE = f"crop{MARGIN}-{SIDE}-mean{MOST_SLICES}-v1"
"""Names everything above: embeddings made in another way must not be compared."""


def largest_slices(mask: NDArray[bool_], *, most: int = MOST_SLICES) -> NDArray[intp]:
    """Return the slices with the largest lesion area, largest first; none where the largest is under LEAST_PIXELS."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    order = np.argsort(-areas, kind="stable")[:most]
    return np.asarray(order[areas[order] >= LEAST_PIXELS], dtype=intp)


def grey_scale(voxels: NDArray[float32]) -> tuple[float, float]:
    """Return black and white of a volume, robust against noise and glare."""
    low, high = (float(value) for value in np.percentile(voxels, (1.0, 99.5)))
    return low, high if high > low else low + 1.0


def cut_out(
    plane: NDArray[float32], mask: NDArray[bool_], *, grey: tuple[float, float], pixel_mm: tuple[float, float]
) -> NDArray[float32]:
    """Cut a square in millimetres around the mask and bring it to SIDE x SIDE, grey values in 0..1, black outside."""
    rows, columns = np.nonzero(mask)
    edges = [(float(axis.min()), float(axis.max()) + 1.0) for axis in (rows, columns)]
    side_mm = MARGIN * max((high - low) * mm for (low, high), mm in zip(edges, pixel_mm, strict=True))
    axes = [
        (low + high - 1.0) / 2 + ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * side_mm / mm
        for (low, high), mm in zip(edges, pixel_mm, strict=True)
    ]
    low, high = grey
    scaled = np.clip((plane - low) / (high - low), 0.0, 1.0)
    shrink = [max(0.0, side_mm / mm / SIDE - 1.0) * 0.35 for mm in pixel_mm]
    smooth = ndimage.gaussian_filter(scaled, shrink) if max(shrink) > 0 else scaled
    places = np.meshgrid(*axes, indexing="ij")
    return np.asarray(ndimage.map_coordinates(smooth, places, order=1, mode="constant"), dtype=float32)
