"""One plane of one instance, and where two planes count as lying at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workers.imaging.instances import InstanceHeader
from workers.imaging.planes import Plane

_SAME_PLACE_MM = 0.05


@dataclass(frozen=True, slots=True)
class Slice:
    """One plane of one instance."""

    header: InstanceHeader
    plane: Plane


def number_places(slices: Sequence[Slice]) -> list[int]:
    """Return for each slice of one orientation the number of its place, counted along the normal.

    Planes within a twentieth of a millimetre of each other share a place, so that rounded headers agree.
    """
    return _numbered(slices, along_normal=True)


def number_sides(slices: Sequence[Slice]) -> list[int]:
    """Return for each slice of one orientation where within their common plane it lies; one number for one stack."""
    return _numbered(slices, along_normal=False)


def _numbered(slices: Sequence[Slice], *, along_normal: bool) -> list[int]:
    if not slices:
        return []
    first = slices[0].plane
    row, column = np.array(first.row_direction), np.array(first.column_direction)
    axes = np.array([np.cross(row, column), row, column] if along_normal else [row, column])
    positions = np.array([item.plane.position_mm for item in slices]) @ axes.T
    numbers = np.zeros(len(slices), dtype=int)
    for along in positions.T:
        order = np.argsort(along, kind="stable")
        steps = np.empty(len(slices), dtype=int)
        steps[order] = np.concatenate(([0], np.cumsum(np.diff(along[order]) > _SAME_PLACE_MM)))
        _, numbers = np.unique(numbers * len(slices) + steps, return_inverse=True)
    return [int(number) for number in numbers]
