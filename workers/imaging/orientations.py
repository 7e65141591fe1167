"""Planes of one series by their orientation: the stack, what lies across it, and a survey of three planes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy import float64
from numpy.typing import NDArray

from workers.imaging.slices import Slice

_Layout = tuple[float, ...]
"""Rows, columns, pixel spacing and the six direction cosines."""

_TOLERANCES = (0.0, 0.0, 1e-3, 1e-3, *(1e-3,) * 6)
_MOST_LAYOUTS = 500
"""Rounding makes no more different layouts than this; what has more is no stack, and comparing all would take long."""
_PERPENDICULAR = 0.2
"""Cosine up to which two normals count as perpendicular; surveys are planned by eye."""
_SURVEY_PLANES = 12
"""A survey has no more planes than this in any direction."""
_SURVEY_DIRECTIONS = 3


def split_orientations(slices: Iterable[Slice]) -> list[list[Slice]]:
    """Group planes by orientation, pixel spacing and size of the image, the largest group first."""
    exact: dict[_Layout, list[Slice]] = {}
    for item in slices:
        exact.setdefault(_layout(item), []).append(item)
    groups: dict[_Layout, list[Slice]] = {}
    for layout, items in exact.items():
        known = groups if len(exact) <= _MOST_LAYOUTS else {}
        like = next((other for other in known if _alike(other, layout)), layout)
        groups.setdefault(like, []).extend(items)
    return sorted(groups.values(), key=len, reverse=True)


def is_survey(groups: Sequence[Sequence[Slice]]) -> bool:
    """Say whether a series is a three-plane survey: few planes in each of three perpendicular directions."""
    if len(groups) < _SURVEY_DIRECTIONS or max(len(group) for group in groups) > _SURVEY_PLANES:
        return False
    normals = [_normal(group[0]) for group in groups[:_MOST_LAYOUTS]]
    first = normals[0]
    across = [normal for normal in normals if _perpendicular(first, normal)]
    return any(_perpendicular(one, other) for one, other in combinations(across, 2))


def _layout(item: Slice) -> _Layout:
    plane = item.plane
    return (
        item.header.rows,
        item.header.columns,
        *plane.pixel_spacing_mm,
        *plane.row_direction,
        *plane.column_direction,
    )


def _alike(one: _Layout, other: _Layout) -> bool:
    return all(abs(a - b) <= tolerance for a, b, tolerance in zip(one, other, _TOLERANCES, strict=True))


def _perpendicular(one: NDArray[float64], other: NDArray[float64]) -> bool:
    return abs(float(one @ other)) < _PERPENDICULAR


def _normal(item: Slice) -> NDArray[float64]:
    return np.cross(item.plane.row_direction, item.plane.column_direction)
