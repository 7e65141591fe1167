"""The model's grid: how a volume of any orientation and spacing becomes a stack of 128 x 128 slices, and back.

A volume is turned until its axes run as in the training images (canonical axes: ``z`` to the head, ``y`` to the back,
``x`` to the patient's left, the positive axes of the DICOM patient coordinate system, PS3.3 C.7.6.2.1.1). The square
box around the skull is then cut out of every slice and resampled, so that the scanner's field of view and pixel spacing
do not matter. Axes are only permuted and flipped: oblique grids stay oblique. Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage

from workers.errors import UnsuitableVolume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Geometry, Vector, Volume

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

Scalar = TypeVar("Scalar", bound=np.generic)

IMAGE_SIZE = 128
"""Rows and columns of a slice on the model's grid."""
MARGIN = 1.08
"""Side of the crop, as a multiple of the longer side of the skull."""
WHITE = 2.5
"""Intensity shown as white, as a multiple of the median inside the skull."""
SIGNAL = 0.12
"""Where the patient begins: this share of the way from the 0.5th to the 99.5th percentile of the intensities."""
SKULL_LEVEL = -0.75
"""Cropped intensity (-1..1) above which a pixel belongs to the skull or what lies in it."""
CT_WINDOW_HU = (-20.0, 180.0)
LARGEST_VOXELS = 2**28
"""Above this a volume takes gigabytes before anything is computed; refused."""
LARGEST_VALUE = 1e15
"""No scanner's intensity is beyond this; sums of such values leave the range of float32."""
SPACING_LIMITS_MM = (1e-3, 1e3)
SMALLEST_SIDE = 16
"""Fewest rows and columns of an axial slice that can show a head."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """``order[i]`` is the source axis that becomes canonical axis ``i``, reversed where ``flipped[i]``."""

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing_mm: Vector
    """Spacing along the canonical axes (z, y, x)."""

    def apply(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a source array ``[z, y, x]`` in canonical axes (a view)."""
        return np.flip(array.transpose(self.order), self._flipped_axes)

    def undo(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return a canonical array in the axes of the source (a view)."""
        return np.flip(array, self._flipped_axes).transpose(np.argsort(self.order))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, flipped in enumerate(self.flipped) if flipped)


@dataclass(frozen=True, slots=True)
class Crop:
    """The square box around the skull in voxel coordinates (may reach outside the image), and its grey scale.

    ``top``, ``left``, ``height`` and ``width`` are in voxels of the canonical stack; ``black`` and ``white`` in stored
    units.
    """

    top: float
    left: float
    height: float
    width: float
    black: float
    white: float


@dataclass(frozen=True, slots=True)
class ModelGrid:
    """Where the model's stack lies in a volume."""

    orientation: Orientation
    crop: Crop
    shape: tuple[int, int, int]
    """Shape of the volume in canonical axes."""

    @property
    def spacing_mm(self) -> Vector:
        """Spacing (z, y, x) of the model's grid."""
        pixel_mm = self.crop.height * self.orientation.spacing_mm[1] / IMAGE_SIZE
        return (self.orientation.spacing_mm[0], pixel_mm, pixel_mm)

    def to_volume(self, stack: FloatArray) -> FloatArray:
        """Return a stack ``[z, 128, 128]`` on the volume's grid in canonical axes; 0 outside the crop."""
        return from_model(stack, self.crop, self.shape)

    def to_stored(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return an array in canonical axes as the volume is stored, contiguous in memory."""
        return np.ascontiguousarray(self.orientation.undo(array))


@dataclass(frozen=True, slots=True, eq=False)
class ModelStack:
    """A volume as the model sees it: ``images`` float32 ``[z, 128, 128]`` in -1..1, ``skull`` bool of that shape."""

    images: FloatArray
    skull: BoolArray
    grid: ModelGrid


def place_on_grid(volume: Volume) -> ModelStack:
    """Turn, crop and resample a volume; raises UnsuitableVolume that says why it cannot be analysed."""
    check(volume)
    turn = find_orientation(volume.geometry)
    voxels = np.ascontiguousarray(turn.apply(volume.voxels), dtype=np.float32)
    depth, rows, columns = voxels.shape
    if min(rows, columns) < SMALLEST_SIDE:
        raise UnsuitableVolume(f"axial slices have {rows} x {columns} pixels: too few to see anything")
    crop = find_crop(voxels, (turn.spacing_mm[1], turn.spacing_mm[2]), modality=volume.modality)
    if crop is None:
        raise UnsuitableVolume("the volume shows no signal above its background")
    images = to_model(voxels, crop, IMAGE_SIZE)
    return ModelStack(images, skull_masks(images), ModelGrid(turn, crop, (depth, rows, columns)))


def check(volume: Volume) -> None:
    """Refuse what cannot be analysed; raises UnsuitableVolume that says why."""
    voxels = volume.voxels
    if voxels.ndim != 3 or voxels.size == 0:  # noqa: PLR2004 - [z, y, x]
        raise UnsuitableVolume(f"the volume has shape {voxels.shape}: expected slices, rows and columns")
    if voxels.dtype.kind not in "fiub":
        raise UnsuitableVolume(f"the voxels are {voxels.dtype}: expected real numbers")
    if not all(SPACING_LIMITS_MM[0] <= step <= SPACING_LIMITS_MM[1] for step in volume.geometry.spacing_mm):
        raise UnsuitableVolume("the spacing of the volume is not that of an image: expected 0.001 to 1000 mm")
    if voxels.size > LARGEST_VOXELS:
        raise UnsuitableVolume(
            f"the volume has {voxels.size} voxels, more than {LARGEST_VOXELS}: send a coarser series"
        )
    low, high = float(voxels.min()), float(voxels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnsuitableVolume("the volume holds values that are not finite: send it again from its source")
    if max(-low, high) > LARGEST_VALUE:
        raise UnsuitableVolume(f"the volume holds values beyond {LARGEST_VALUE:g}: send it again from its source")
    if low == high:
        raise UnsuitableVolume(f"every voxel of the volume has the value {low:g}: there is nothing to see")


def find_orientation(geometry: Geometry) -> Orientation:
    """Return the permutation and flips that bring a grid nearest to the canonical axes."""
    directions = np.array([geometry.slice_direction, geometry.column_direction, geometry.row_direction])
    along = directions @ np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]).T
    order = max(permutations(range(3)), key=lambda axes: sum(abs(along[axis, i]) for i, axis in enumerate(axes)))
    flips = tuple(bool(along[axis, i] < 0) for i, axis in enumerate(order))
    spacing = tuple(float(geometry.spacing_mm[axis]) for axis in order)
    return Orientation(
        (order[0], order[1], order[2]), (flips[0], flips[1], flips[2]), (spacing[0], spacing[1], spacing[2])
    )


def find_crop(voxels: FloatArray, pixel_mm: tuple[float, float], *, modality: str = "MR") -> Crop | None:
    """Return the crop of an axial stack ``[z, y, x]`` with in-plane spacing (y, x) in mm; None without a signal."""
    sample = voxels[:, :: _stride(voxels.shape[1]), :: _stride(voxels.shape[2])]
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    if not high > low:
        return None
    present = sample > low + SIGNAL * (high - low)
    black, white = _grey_scale(sample, present, low, modality)
    if not white > black:
        return None
    box = _skull_box(present)
    steps = (_stride(voxels.shape[1]), _stride(voxels.shape[2]))
    top, bottom, left, right = (edge * steps[index // 2] for index, edge in enumerate(box))
    side_mm = MARGIN * max((bottom - top) * pixel_mm[0], (right - left) * pixel_mm[1])
    height, width = side_mm / pixel_mm[0], side_mm / pixel_mm[1]
    middle_y, middle_x = (top + bottom) / 2, (left + right) / 2
    return Crop(middle_y - height / 2, middle_x - width / 2, height, width, black, white)


def _stride(size: int) -> int:
    return max(1, size // 256)


def _grey_scale(sample: FloatArray, present: NDArray[np.bool_], low: float, modality: str) -> tuple[float, float]:
    if modality == "CT":
        return CT_WINDOW_HU
    if not present.any():
        return low, low
    return low, low + WHITE * (float(np.median(sample[present])) - low)


def _skull_box(present: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    enough = min(2, present.shape[0])
    footprint = ndimage.binary_opening(present.sum(axis=0) >= enough, iterations=2)
    labels, count = ndimage.label(footprint)
    if count == 0:
        return 0, present.shape[1], 0, present.shape[2]
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    rows, columns = ndimage.find_objects(labels)[int(sizes.argmax()) - 1]
    return rows.start, rows.stop, columns.start, columns.stop


def to_model(voxels: FloatArray, crop: Crop, size: int) -> FloatArray:
    """Return the crop of every slice ``[z, size, size]``, with intensities in -1..1."""
    blurred = _antialiased(voxels, crop, size)
    rows = crop.top + (np.arange(size) + 0.5) * crop.height / size - 0.5
    columns = crop.left + (np.arange(size) + 0.5) * crop.width / size - 0.5
    sampled = _sample_plane(blurred, rows, columns, outside=crop.black)
    scaled = (sampled - crop.black) / (crop.white - crop.black)
    return np.asarray(np.clip(scaled, 0.0, 1.0) * 2.0 - 1.0, dtype=np.float32)


def _antialiased(voxels: FloatArray, crop: Crop, size: int) -> FloatArray:
    sigmas = [0.35 * max(0.0, extent / size - 1.0) for extent in (crop.height, crop.width)]
    if max(sigmas) < 0.1:  # noqa: PLR2004 - a tenth of a pixel of blur changes nothing
        return voxels
    return np.asarray(ndimage.gaussian_filter(voxels, (0.0, *sigmas), mode="nearest"), dtype=np.float32)


def from_model(maps: FloatArray, crop: Crop, shape: tuple[int, int, int]) -> FloatArray:
    """Return maps ``[z, size, size]`` of the model's grid on the stack's ``shape``; 0 outside the crop."""
    size = maps.shape[-1]
    rows = (np.arange(shape[1]) + 0.5 - crop.top) * size / crop.height - 0.5
    columns = (np.arange(shape[2]) + 0.5 - crop.left) * size / crop.width - 0.5
    return _sample_plane(maps, rows, columns, outside=0.0)


def _sample_plane(
    stack: FloatArray, rows: NDArray[np.float64], columns: NDArray[np.float64], *, outside: float
) -> FloatArray:
    """Return linear interpolations at every (row, column); ``outside`` beyond half a pixel of the edge."""
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


def skull_masks(images: FloatArray) -> BoolArray:
    """Return ``skull_mask`` of each slice ``[z, y, x]``."""
    return np.array([skull_mask(image) for image in images], dtype=bool).reshape(images.shape)


def skull_mask(image: FloatArray) -> BoolArray:
    """Return which pixels of a cropped slice (-1..1) the skull encloses: the largest bright part, holes filled."""
    labels, count = ndimage.label(ndimage.gaussian_filter(image, 1.0) > SKULL_LEVEL)
    if count == 0:
        return np.zeros(image.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    closed = ndimage.binary_closing(np.pad(labels == sizes.argmax(), 8), iterations=6)[8:-8, 8:-8]
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)
