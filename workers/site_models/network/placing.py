"""Bring a volume to a network's grid, and back: which way its axes run, and its spacing.

Axes are only permuted and flipped, to those nearest to what the network wants: oblique grids stay oblique. Both grids
cover the same box, so that flips and turns of a volume give flips and turns of the result; where rounding to whole
voxels leaves an axis with as many as it had, that axis stays exactly as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy import float32, float64, intp
from torch.nn import functional

from workers.segmentation.grid import Orientation, find_orientation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Geometry
    from workers.site_models.model_file import InputSection

    FloatArray = NDArray[float32]

Scalar = TypeVar("Scalar", bound=np.generic)
Shape = tuple[int, int, int]

_COLUMNS_AT_ONCE = 2**16
_LINES = ("SI", "PA", "LR")
"""The axes of ``find_orientation`` (z, y, x): the way that each runs, and the other way."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a network's grid lies in a volume. Its axes are those of the tensor, for 2D networks after the slices'."""

    turn: Orientation
    turned: Shape
    """Shape of the volume in the network's axes."""
    shape: Shape
    """Shape of the network's grid."""

    def to_network(self, voxels: NDArray[Scalar]) -> FloatArray:
        """Return voxels ``[z, y, x]`` on the network's grid: linear, and smoothed along axes that shrink."""
        return _resampled(self.turn.apply(voxels), self.shape)

    def to_volume(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Return an array of shape ``turned`` in the axes of the volume."""
        return np.ascontiguousarray(self.turn.undo(array))


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Between which two places of one grid each place of another lies along one axis, and how near to the second."""

    lower: NDArray[intp]
    upper: NDArray[intp]
    weight: NDArray[float32]


def place(geometry: Geometry, shape: Shape, wanted: InputSection) -> Placement:
    """Return how a volume of a shape is brought to the grid that ``model.toml`` asks for."""
    turn = _turn(geometry, wanted)
    first, second, third = (shape[axis] for axis in turn.order)
    turned = (first, second, third)
    if wanted.spacing_mm is None:
        return Placement(turn, turned, turned)
    steps = [wanted.spacing_mm["zyx".index(letter)] for letter in _letters(wanted)]
    sides = [max(1, round(count * has / step)) for count, has, step in zip(turned, turn.spacing_mm, steps, strict=True)]
    return Placement(turn, turned, (sides[0], sides[1], sides[2]))


def _letters(wanted: InputSection) -> str:
    return wanted.axes.rjust(3, "z")


def _turn(geometry: Geometry, wanted: InputSection) -> Orientation:
    order, flipped = [], []
    canonical = find_orientation(geometry)
    for letter in _letters(wanted):
        source, turned_round = "zyx".index(letter), False
        if wanted.orientation is not None:
            way = wanted.orientation["xyz".index(letter)]
            line = next(number for number, ways in enumerate(_LINES) if way in ways)
            source, turned_round = canonical.order[line], canonical.flipped[line] != (way == _LINES[line][1])
        order.append(source)
        flipped.append(turned_round)
    spacing = [float(geometry.spacing_mm[source]) for source in order]
    return Orientation(
        (order[0], order[1], order[2]), (flipped[0], flipped[1], flipped[2]), (spacing[0], spacing[1], spacing[2])
    )


def neighbours(count: int, *, of: int) -> Neighbours:
    """Return where ``count`` places of one axis lie among ``of`` places over the same length."""
    places = np.clip((np.arange(count) + 0.5) * (of / count) - 0.5, 0, of - 1) if count != of else np.arange(count)
    lower = np.floor(places).astype(intp)
    weight = np.asarray(places - lower, dtype=float64).astype(float32)
    return Neighbours(lower, np.where(weight > 0, np.minimum(lower + 1, of - 1), lower), weight)


def resized(planes: FloatArray, shape: tuple[int, int], *, smooth: bool = False) -> FloatArray:
    """Return planes ``[n, y, x]`` of another shape over the same area, linear; ``smooth`` averages where they shrink.

    Returns the planes themselves where they have that shape.
    """
    if planes.shape[1:] == shape:
        return planes
    tensor = torch.from_numpy(np.ascontiguousarray(planes, dtype=float32))[None]
    made = functional.interpolate(tensor, size=shape, mode="bilinear", align_corners=False, antialias=smooth)
    return np.asarray(made[0].numpy(), dtype=float32)


def _resampled(array: NDArray[Scalar], shape: Shape) -> FloatArray:
    if array.shape == shape:
        return np.ascontiguousarray(array, dtype=float32)
    planes = np.empty((array.shape[0], *shape[1:]), dtype=float32)
    for number, plane in enumerate(array):
        planes[number] = resized(plane[None].astype(float32), shape[1:], smooth=True)[0]
    if len(planes) == shape[0]:
        return planes
    flat = planes.reshape(len(planes), -1)
    made = np.empty((shape[0], flat.shape[1]), dtype=float32)
    for start in range(0, flat.shape[1], _COLUMNS_AT_ONCE):
        columns = flat[None, :, start : start + _COLUMNS_AT_ONCE]
        made[:, start : start + _COLUMNS_AT_ONCE] = resized(columns, (shape[0], columns.shape[2]), smooth=True)[0]
    return made.reshape(shape)
