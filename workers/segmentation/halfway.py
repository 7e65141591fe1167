"""Edges of what takes up more than its surroundings: halfway between these and its peak, on the scale of the grey.

The grey of PET is the logarithm of the uptake, so that the edge of a tumour that takes up nine times as much as what
surrounds it lies at three times as much. A level that holds for every patient, or a share of the highest uptake, does
not suit faint and strong tumours alike. Nothing is fitted here: where a component is, others have decided. Arrays are
``[z, y, x]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from workers.segmentation.edges import fill_holes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]
    Box = tuple[slice, ...]

HALFWAY = 0.5
PEAK_PERCENTILE = 90
"""Of a component's grey: its peak, whatever noise does to its brightest voxel."""
RING_MM = (8.0, 30.0)
"""How far from a component its surroundings begin and end."""
FEWEST = 20
"""Fewest voxels of surroundings in the body; with less a component stays as it is."""
TOUCHING = np.ones((3, 3, 3), dtype=bool)


def halfway(
    labels: NDArray[np.int32], grey: FloatArray, body: BoolArray, *, spacing_mm: Vector, reach_mm: float
) -> BoolArray:
    """Return the mask of all labelled components, each with its edge halfway, at most ``reach_mm`` further out."""
    found = np.zeros(labels.shape, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            wide = _widened(box, labels.shape, spacing_mm)
            component = labels[wide] == number
            found[wide] |= _edged(component, grey[wide], body[wide], spacing_mm, reach_mm)
    return found


def _widened(box: Box, shape: tuple[int, ...], spacing_mm: Vector) -> Box:
    margins = (int(np.ceil(RING_MM[1] / spacing)) for spacing in spacing_mm)
    sides = zip(box, margins, shape, strict=True)
    return tuple(slice(max(0, side.start - far), min(end, side.stop + far)) for side, far, end in sides)


def _edged(component: BoolArray, grey: FloatArray, body: BoolArray, spacing_mm: Vector, reach_mm: float) -> BoolArray:
    away = ndimage.distance_transform_edt(~component, sampling=spacing_mm)
    ring = (away > RING_MM[0]) & (away < RING_MM[1]) & body
    if np.count_nonzero(ring) < FEWEST:
        return component
    around, peak = float(np.median(grey[ring])), float(np.percentile(grey[component], PEAK_PERCENTILE))
    above = (away <= reach_mm) & (grey > around + HALFWAY * (peak - around))
    pieces, _ = ndimage.label(above, structure=TOUCHING)
    own = np.unique(pieces[component & above])
    return fill_holes(np.isin(pieces, own)) if len(own) and peak > around else component
