"""Which axial planes show findings, and what is cut out of them. Arrays are ``[z, y, x]`` in canonical axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from workers.segmentation.grid import Crop, Orientation

    FloatArray = NDArray[np.float32]
    ByteArray = NDArray[np.uint8]

SHARED_PLANE = 0.5
"""A plane that shows another finding already serves where it holds this share of the finding's largest area."""


def choose_planes(labels: ByteArray) -> Mapping[int, int]:
    """Return for each number the plane with its largest area, or an earlier choice that shows nearly as much of it."""
    chosen: dict[int, int] = {}
    for number in range(1, int(labels.max(initial=0)) + 1):
        areas = np.count_nonzero(labels == number, axis=(1, 2))
        shared = [z for z in chosen.values() if areas[z] >= SHARED_PLANE * areas.max()]
        chosen[number] = max(shared, key=lambda z: int(areas[z])) if shared else int(areas.argmax())
    return chosen


def nearest_in_box(plane: ByteArray, box: Crop, side: int) -> ByteArray:
    """Return the labels of one plane at the ``side`` x ``side`` pixels of a box; 0 outside the image."""
    steps = (np.arange(side) + 0.5) / side
    rows = np.rint(box.top + steps * box.height - 0.5).astype(np.intp)
    columns = np.rint(box.left + steps * box.width - 0.5).astype(np.intp)
    inside = ((rows >= 0) & (rows < plane.shape[0]))[:, None] & ((columns >= 0) & (columns < plane.shape[1]))
    taken = plane[rows.clip(0, plane.shape[0] - 1)][:, columns.clip(0, plane.shape[1] - 1)]
    return np.where(inside, taken, np.uint8(0))


def slice_index(plane: int, turn: Orientation, planes: int) -> int | None:
    """Return the slice of the volume that is a plane in canonical axes; None where its slices are not axial."""
    if turn.order[0] != 0:
        return None
    return planes - 1 - plane if turn.flipped[0] else plane


def brightness(image: FloatArray) -> FloatArray:
    """Return intensities of -1..1 in 0..1."""
    return np.asarray((np.clip(image, -1.0, 1.0) + 1.0) / 2.0, dtype=np.float32)
