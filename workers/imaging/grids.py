"""From planes in any order to one regular grid, or a coded reason why there is none.

Slices are ordered by where they lie along the normal of their planes, never by InstanceNumber.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from storage.volumes import Geometry, Vector
from workers.errors import DuplicatePosition, IncompleteVolume, InvalidGeometry, MixedGeometry, UnsuitableVolume
from workers.imaging.planes import Plane

_COSINE_TOLERANCE = 1e-3
_SAME_POSITION_MM = 0.01
_GAP_TOLERANCE = 0.05
_ROUNDING_MM = 0.02
_SHEAR_PIXELS = 0.5
_EXACT = 1e-9
_MOST_DECIMALS = 7
_BENT = 3.5
"""How far two directions are from perpendicular, at most, by what one cosine is rounded by: all six are."""
_LEAN = 2.5
"""How far a normal leans, at most, by what one cosine is rounded by: three are, in each of two directions."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular grid: ``order[z]`` is the index of the plane that became slice ``z``."""

    geometry: Geometry
    order: tuple[int, ...]


def regular_grid(planes: Sequence[Plane]) -> Grid:
    """Order planes along their normal and return their grid, right-handed, ``z`` growing along row x column.

    MixedGeometry where orientation or pixel spacing differ, InvalidGeometry where the directions are not
    perpendicular unit vectors or the slices are sheared (gantry tilt), DuplicatePosition, IncompleteVolume where the
    gaps are not equal, UnsuitableVolume for fewer than two planes.
    """
    if len(planes) < 2:  # noqa: PLR2004 - two planes are what a distance between slices needs
        raise UnsuitableVolume("one slice is no volume; send the whole series")
    _require_same_layout(planes)
    positions = np.array([plane.position_mm for plane in planes], dtype=float64)
    row, column = _upright(*_perpendicular(planes[0]), positions, rounding=_rounding(planes[0]))
    normal = np.cross(row, column)
    depths = positions @ normal
    order = np.argsort(depths, kind="stable")
    slice_mm = _slice_distance(depths[order])
    _require_straight(positions[order], normal, min(planes[0].pixel_spacing_mm))
    geometry = Geometry(
        origin_mm=_vector(positions[order[0]]),
        row_direction=_vector(row),
        column_direction=_vector(column),
        slice_direction=_vector(normal),
        spacing_mm=(slice_mm, *planes[0].pixel_spacing_mm),
    )
    return Grid(geometry, tuple(int(index) for index in order))


def _vector(values: NDArray[float64]) -> Vector:
    # Adding zero turns -0.0 into 0.0.
    return (float(values[0]) + 0.0, float(values[1]) + 0.0, float(values[2]) + 0.0)


def _require_same_layout(planes: Sequence[Plane]) -> None:
    cosines = np.array([(*plane.row_direction, *plane.column_direction) for plane in planes])
    if np.abs(cosines - cosines[0]).max() > _COSINE_TOLERANCE:
        raise MixedGeometry("the slices of the series have different orientations; send them as separate series")
    spacing = np.array([plane.pixel_spacing_mm for plane in planes])
    if not np.allclose(spacing, spacing[0], rtol=1e-3, atol=0):
        raise MixedGeometry("the slices of the series have different pixel spacing; send them as separate series")


def _rounding(plane: Plane) -> float:
    """Return by how much the header's cosines may be off: half of the last decimal that they are written with.

    Fewer than two decimals are taken for two: a plane along the patient's axes needs none.
    """
    cosines = np.array((*plane.row_direction, *plane.column_direction))
    written = next((d for d in range(2, _MOST_DECIMALS) if np.abs(np.round(cosines, d) - cosines).max() < _EXACT), None)
    return 0.0 if written is None else 0.5 * 10.0**-written


def _perpendicular(plane: Plane) -> tuple[NDArray[float64], NDArray[float64]]:
    """Return exact unit directions from the rounded ones of the header."""
    row = np.array(plane.row_direction, dtype=float64)
    column = np.array(plane.column_direction, dtype=float64)
    lengths = np.array([np.linalg.norm(row), np.linalg.norm(column)])
    tolerance = max(_COSINE_TOLERANCE, _BENT * _rounding(plane))
    if np.abs(lengths - 1).max() > tolerance or abs(float(row @ column)) > tolerance:
        raise InvalidGeometry("ImageOrientationPatient does not hold two perpendicular unit vectors")
    row = row / lengths[0]
    column = column - row * float(row @ column)
    return row, column / np.linalg.norm(column)


def _upright(
    row: NDArray[float64], column: NDArray[float64], positions: NDArray[float64], *, rounding: float
) -> tuple[NDArray[float64], NDArray[float64]]:
    """Turn rounded directions so that they are perpendicular to the line along which the slices lie.

    The positions say more about that line than cosines of two decimals do. It is believed only as far as rounding
    explains the difference: what leans farther is a gantry tilt.
    """
    normal = np.cross(row, column)
    depths = positions @ normal
    line = positions[int(depths.argmax())] - positions[int(depths.argmin())]
    length = float(np.linalg.norm(line))
    if not length or float(np.linalg.norm(np.cross(normal, line))) > _LEAN * rounding * length:
        return row, column
    line = line / length
    row = row - line * float(row @ line)
    row = row / np.linalg.norm(row)
    return row, np.cross(line, row)


def _slice_distance(depths: NDArray[float64]) -> float:
    """Return the one distance between neighbours; ``depths`` ascend."""
    gaps = np.diff(depths)
    doubles = int(np.count_nonzero(gaps < _SAME_POSITION_MM))
    if doubles:
        raise DuplicatePosition(f"{doubles} of {len(depths)} slices lie where another one lies")
    usual = float(np.median(gaps))
    off = np.abs(gaps - usual) > _GAP_TOLERANCE * usual + _ROUNDING_MM
    if off.any():
        at = int(np.argmax(off))
        raise IncompleteVolume(
            f"slices {at + 1} and {at + 2} of {len(depths)} are {gaps[at]:.2f} mm apart, the others {usual:.2f} mm; "
            f"{int(off.sum())} gaps differ; send the missing slices"
        )
    # Nanometres are rounding of the header's decimal strings.
    return round(float(gaps.mean()), 6)


def _require_straight(positions: NDArray[float64], normal: NDArray[float64], pixel_mm: float) -> None:
    """Refuse slices that are shifted within their plane: the grid would be sheared, and a mask on it wrong."""
    offsets = positions - positions[0]
    sideways = offsets - np.outer(offsets @ normal, normal)
    shift_mm = float(np.linalg.norm(sideways, axis=1).max())
    if shift_mm > _SHEAR_PIXELS * pixel_mm:
        depths = offsets @ normal
        sheared = np.outer(depths, depths @ sideways / (depths @ depths))
        if float(np.linalg.norm(sideways - sheared, axis=1).max()) > shift_mm / 2:
            raise InvalidGeometry(
                f"the slices lie to and fro, up to {shift_mm:.2f} mm sideways of the first, on no straight line: their "
                "ImagePositionPatient was changed or they are of several stacks; send the images as they were acquired"
            )
        raise InvalidGeometry(
            f"the slices are shifted sideways by up to {shift_mm:.2f} mm (gantry tilt); send a series without tilt"
        )
