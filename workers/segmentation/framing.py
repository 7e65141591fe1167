"""How a volume becomes the stack that a family's network is shown, and the way back. Arrays are ``[z, y, x]``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage

from workers.errors import UnsuitableVolume
from workers.segmentation import grid
from workers.segmentation.families import Family, Frame, Grey
from workers.segmentation.grid import Crop, Orientation
from workers.segmentation.unet import MULTIPLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector, Volume

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

Scalar = TypeVar("Scalar", bound=np.generic)
PERCENTILES = (0.5, 99.5)
"""Of the stored values: black and white of ``Grey.PICTURE``, and black of ``Grey.TISSUE``."""
PICTURE_MM, PICTURE_STEP_MM = 320.0, 5.0
"""What the longer side of a picture, and its thickness, are taken to be (``Frame.PICTURE``)."""

LONGEST_MM = 2000.0
"""No scanner's slice is longer; a frame of fixed pixels would grow with it until memory ends."""
FEWEST_PIXELS = 4
"""Of ``Family.pixel_mm`` along the shorter side of a slice: with fewer there is nothing to see."""
NARROWEST = 100.0
"""No slice is so many times as long as it is wide."""


@dataclass(frozen=True, slots=True, eq=False)
class FramedStack:
    """A volume as a family's network is shown it: ``images`` float32 ``[z, side, side]`` in -1..1, and its ``body``.

    ``shape`` is that of the volume in canonical axes.
    """

    images: FloatArray
    body: BoolArray
    orientation: Orientation
    crop: Crop
    shape: tuple[int, int, int]

    @property
    def spacing_mm(self) -> Vector:
        """Spacing (z, y, x) of the framed stack."""
        depth_mm, row_mm, _ = self.orientation.spacing_mm
        pixel_mm = self.crop.height * row_mm / self.images.shape[-1]
        return (depth_mm, pixel_mm, pixel_mm)

    def to_volume(self, stack: FloatArray) -> FloatArray:
        """Return a framed stack on the volume's grid in canonical axes; 0 outside the frame."""
        return grid.from_model(stack, self.crop, self.shape)

    def to_stored(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return an array in canonical axes as the volume is stored, contiguous in memory."""
        return np.ascontiguousarray(self.orientation.undo(array))


def frame(volume: Volume, family: Family) -> FramedStack:
    """Turn, scale and resample a volume; raises UnsuitableVolume that says why it cannot be analysed.

    A volume of a modality that is not the family's is refused.
    """
    if not family.takes(volume.modality):
        taken = " or ".join(sorted(family.modalities))
        raise UnsuitableVolume(f"the volume is {volume.modality}: {family.name} takes {taken}")
    grid.check(volume)
    turn = grid.find_orientation(volume.geometry)
    voxels = np.ascontiguousarray(turn.apply(volume.voxels), dtype=np.float32)
    if min(voxels.shape[1:]) < grid.SMALLEST_SIDE:
        raise UnsuitableVolume(f"slices have {voxels.shape[1]} x {voxels.shape[2]} pixels: too few to see anything")
    pixel_mm = (turn.spacing_mm[1], turn.spacing_mm[2])
    _check_field((voxels.shape[1] * pixel_mm[0], voxels.shape[2] * pixel_mm[1]), family)
    crop = _crop(voxels, pixel_mm, family)
    side = family.side if family.frame is not Frame.MILLIMETRES else round(crop.height * pixel_mm[0] / family.pixel_mm)
    if len(voxels) * side**2 > grid.LARGEST_VOXELS:
        raise UnsuitableVolume(f"{len(voxels)} slices of {side} x {side} pixels would be scored: send a coarser series")
    images = grid.to_model(_decoded(voxels, family), crop, side)
    if family.frame is Frame.PICTURE:
        turn = replace(turn, spacing_mm=_nominal(pixel_mm, crop))
    return FramedStack(images, body_masks(images, family), turn, crop, _shape(voxels))


def encode_uptake(suv: FloatArray, window: tuple[float, float]) -> FloatArray:
    """Return grey 0..1 for standardised uptake values: logarithmic, so that a ratio is a difference of grey."""
    half, white = window
    return np.asarray(np.log1p(np.maximum(suv, 0.0) / half) / np.log1p(white / half), dtype=np.float32)


def body_masks(images: FloatArray, family: Family) -> BoolArray:
    """Return which pixels of framed slices (-1..1) the body encloses: what is not background, holes filled."""
    if family.body_above < 0:
        return np.ones(images.shape, dtype=bool)
    present = (ndimage.gaussian_filter(images, (0.0, 1.0, 1.0)) + 1.0) / 2.0 > family.body_above
    closed = (ndimage.binary_closing(np.pad(plane, 4), iterations=3)[4:-4, 4:-4] for plane in present)
    return np.stack([np.asarray(ndimage.binary_fill_holes(plane), dtype=bool) for plane in closed])


def neighbours(depth: int, spacing_z_mm: float, family: Family) -> NDArray[np.intp]:
    """Return for each slice the indices of those that the network sees with it, ``[depth, family.slices]``.

    Beyond the ends of the stack its last slice is repeated.
    """
    step = max(1, round(family.step_mm / spacing_z_mm))
    offsets = (np.arange(family.slices) - family.slices // 2) * step
    return np.asarray(np.clip(np.arange(depth)[:, None] + offsets[None], 0, depth - 1), dtype=np.intp)


def _check_field(field_mm: tuple[float, float], family: Family) -> None:
    """Refuse slices of a size that no image has; only ``Frame.MILLIMETRES`` relies on more than their proportions."""
    short, long = min(field_mm), max(field_mm)
    likely = family.frame is not Frame.MILLIMETRES or (short >= FEWEST_PIXELS * family.pixel_mm and long <= LONGEST_MM)
    if not likely or long > NARROWEST * short:
        size = f"{field_mm[0]:g} x {field_mm[1]:g} mm"
        raise UnsuitableVolume(f"slices of {size} are no image of a patient: check the spacing that the series says")


def _nominal(pixel_mm: tuple[float, float], crop: Crop) -> Vector:
    """Return the spacing that a picture is taken to have, whatever it says: rules are the same for every zoom."""
    scale = PICTURE_MM / (crop.height * pixel_mm[0])
    return (PICTURE_STEP_MM, pixel_mm[0] * scale, pixel_mm[1] * scale)


def _crop(voxels: FloatArray, pixel_mm: tuple[float, float], family: Family) -> Crop:
    black, white = _ends(voxels, family)
    if not white > black:
        raise UnsuitableVolume("the volume shows no signal above its background")
    if family.frame is Frame.HEAD:
        found = grid.find_crop(voxels, pixel_mm)
        if found is None:
            raise UnsuitableVolume("the volume shows no signal above its background")
        return found
    longest_mm = max(voxels.shape[1] * pixel_mm[0], voxels.shape[2] * pixel_mm[1])
    side_mm = longest_mm
    if family.frame is Frame.MILLIMETRES:
        step_mm = MULTIPLE * family.pixel_mm
        side_mm = step_mm * max(1, int(np.ceil(longest_mm / step_mm - 1e-6)))
    height, width = side_mm / pixel_mm[0], side_mm / pixel_mm[1]
    return Crop((voxels.shape[1] - height) / 2, (voxels.shape[2] - width) / 2, height, width, black, white)


def _ends(voxels: FloatArray, family: Family) -> tuple[float, float]:
    """Return what is shown as black and as white, in the values that ``_decoded`` returns."""
    if family.grey is Grey.UPTAKE:
        return 0.0, 1.0
    if family.grey is Grey.HOUNSFIELD:
        return family.window
    low, high = (float(value) for value in np.percentile(voxels[:, ::2, ::2], PERCENTILES))
    if family.grey is Grey.PICTURE:
        return low, high
    present = voxels[voxels > low + grid.SIGNAL * (high - low)]
    return low, low + family.window[1] * (float(np.median(present)) - low) if present.size else low


def _decoded(voxels: FloatArray, family: Family) -> FloatArray:
    return encode_uptake(voxels, family.window) if family.grey is Grey.UPTAKE else voxels


def _shape(voxels: FloatArray) -> tuple[int, int, int]:
    depth, rows, columns = voxels.shape
    return (depth, rows, columns)
