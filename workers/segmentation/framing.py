"""Framing: what of an axial stack the model sees, and at which grey scale.

The in-plane box around the head is cut out square in millimetres and brought to the model's grid, so that the field of
view and the pixel spacing of the scanner do not matter. Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

MARGIN = 1.08
"""Side of the box, as a multiple of the longer side of the head."""
WHITE = 2.5
"""Intensity shown as white, as a multiple of the median of the head."""
SIGNAL = 0.12
"""Head begins at this share of the 99.5th percentile."""
HEAD_LEVEL = -0.75
"""Framed intensity above which a pixel belongs to the head."""
CT_WINDOW_HU = (-20.0, 180.0)


@dataclass(frozen=True, slots=True)
class Framing:
    """The square box in voxel coordinates (may reach outside the image), and the grey scale of one stack.

    ``top``, ``left``, ``height`` and ``width`` are in voxels of the stack; ``black`` and ``white`` in stored units.
    """

    top: float
    left: float
    height: float
    width: float
    black: float
    white: float


def find(voxels: FloatArray, pixel_mm: tuple[float, float], *, modality: str = "MR") -> Framing | None:
    """Find the head in an axial stack ``[z, y, x]`` with in-plane spacing (y, x); None where there is no signal."""
    sample = voxels[:, :: _stride(voxels.shape[1]), :: _stride(voxels.shape[2])]
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    if not high > low:
        return None
    present = sample > low + SIGNAL * (high - low)
    black, white = _grey_scale(sample, present, low, modality)
    if not white > black:
        return None
    box = _head_box(present)
    steps = (_stride(voxels.shape[1]), _stride(voxels.shape[2]))
    top, bottom, left, right = (edge * steps[index // 2] for index, edge in enumerate(box))
    side_mm = MARGIN * max((bottom - top) * pixel_mm[0], (right - left) * pixel_mm[1])
    height, width = side_mm / pixel_mm[0], side_mm / pixel_mm[1]
    middle_y, middle_x = (top + bottom) / 2, (left + right) / 2
    return Framing(middle_y - height / 2, middle_x - width / 2, height, width, black, white)


def _stride(size: int) -> int:
    return max(1, size // 256)


def _grey_scale(sample: FloatArray, present: NDArray[np.bool_], low: float, modality: str) -> tuple[float, float]:
    if modality == "CT":
        return CT_WINDOW_HU
    if not present.any():
        return low, low
    return low, low + WHITE * (float(np.median(sample[present])) - low)


def _head_box(present: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    enough = min(2, present.shape[0])
    footprint = ndimage.binary_opening(present.sum(axis=0) >= enough, iterations=2)
    labels, count = ndimage.label(footprint)
    if count == 0:
        return 0, present.shape[1], 0, present.shape[2]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    rows, columns = ndimage.find_objects(labels)[int(sizes.argmax()) - 1]
    return rows.start, rows.stop, columns.start, columns.stop


def to_model(voxels: FloatArray, framing: Framing, size: int) -> FloatArray:
    """Cut the box out of every slice, at ``size`` x ``size`` pixels and intensities in -1..1."""
    blurred = _antialiased(voxels, framing, size)
    rows = framing.top + (np.arange(size) + 0.5) * framing.height / size - 0.5
    columns = framing.left + (np.arange(size) + 0.5) * framing.width / size - 0.5
    sampled = _sample_plane(blurred, rows, columns, outside=framing.black)
    scaled = (sampled - framing.black) / (framing.white - framing.black)
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 2.0 - 1.0, dtype=np.float32)


def _antialiased(voxels: FloatArray, framing: Framing, size: int) -> FloatArray:
    sigmas = [0.35 * max(0.0, extent / size - 1.0) for extent in (framing.height, framing.width)]
    if max(sigmas) < 0.1:  # noqa: PLR2004 - a tenth of a pixel of blur changes nothing
        return voxels
    return np.asarray(ndimage.gaussian_filter(voxels, (0.0, *sigmas), mode="nearest"), dtype=np.float32)


def from_model(maps: FloatArray, framing: Framing, shape: tuple[int, int, int]) -> FloatArray:
    """Bring maps on the model's grid ``[z, size, size]`` back to the stack's ``shape``; 0 outside the box."""
    size = maps.shape[-1]
    rows = (np.arange(shape[1]) + 0.5 - framing.top) * size / framing.height - 0.5
    columns = (np.arange(shape[2]) + 0.5 - framing.left) * size / framing.width - 0.5
    return _sample_plane(maps, rows, columns, outside=0.0)


def _sample_plane(
    stack: FloatArray, rows: NDArray[np.float64], columns: NDArray[np.float64], *, outside: float
) -> FloatArray:
    """Interpolate linearly at every (row, column) of a separable grid; ``outside`` beyond half a pixel of the edge."""
    along_rows = _sample_axis(stack, rows, axis=1)
    result = _sample_axis(along_rows, columns, axis=2)
    result[:, _beyond(rows, stack.shape[1]), :] = outside
    result[:, :, _beyond(columns, stack.shape[2])] = outside
    return result


def _beyond(positions: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    return np.asarray(np.abs(positions - (size - 1) / 2) > size / 2, dtype=bool)


def _sample_axis(stack: FloatArray, positions: NDArray[np.float64], *, axis: int) -> FloatArray:
    clipped = np.clip(positions, 0, stack.shape[axis] - 1)
    lower = np.floor(clipped).astype(np.intp)
    upper = np.minimum(lower + 1, stack.shape[axis] - 1)
    weight = (clipped - lower).astype(np.float32)
    weight = weight[None, :, None] if axis == 1 else weight[None, None, :]
    return np.asarray(
        stack.take(lower, axis=axis) * (1 - weight) + stack.take(upper, axis=axis) * weight, dtype=np.float32
    )


def head(image: FloatArray) -> NDArray[np.bool_]:
    """Tell which pixels of one framed slice (-1..1) lie inside the head: its largest bright part, holes filled."""
    labels, count = ndimage.label(ndimage.gaussian_filter(image, 1.0) > HEAD_LEVEL)
    if count == 0:
        return np.zeros(image.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    closed = ndimage.binary_closing(np.pad(labels == sizes.argmax(), 8), iterations=6)[8:-8, 8:-8]
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)
