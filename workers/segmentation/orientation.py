"""Orientation: turn any grid so that it lies as the training images do, and turn results back.

Canonical axes are ``z`` to the head, ``y`` to the back, ``x`` to the patient's left: the positive axes of the DICOM
patient coordinate system (PS3.3 C.7.6.2.1.1). Only axes are permuted and flipped; oblique grids stay oblique.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.domain import Geometry, Vector

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Orientation:
    """``order[i]`` is the source axis that becomes canonical axis ``i``, reversed where ``flipped[i]``."""

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    spacing_mm: Vector
    """Spacing along the canonical axes (z, y, x)."""

    def apply(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Turn a source array ``[z, y, x]`` into the canonical frame (a view)."""
        return np.flip(array.transpose(self.order), self._flipped_axes)

    def undo(self, array: NDArray[Scalar]) -> NDArray[Scalar]:
        """Turn a canonical array back onto the source grid (a view)."""
        return np.flip(array, self._flipped_axes).transpose(np.argsort(self.order))

    @property
    def _flipped_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, flipped in enumerate(self.flipped) if flipped)


def find(geometry: Geometry) -> Orientation:
    """Find the permutation and flips that bring a grid nearest to the canonical axes."""
    directions = np.array([geometry.slice_direction, geometry.column_direction, geometry.row_direction])
    along = directions @ np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]).T
    order = max(permutations(range(3)), key=lambda axes: sum(abs(along[axis, i]) for i, axis in enumerate(axes)))
    flips = tuple(bool(along[axis, i] < 0) for i, axis in enumerate(order))
    spacing = tuple(float(geometry.spacing_mm[axis]) for axis in order)
    return Orientation(
        (order[0], order[1], order[2]), (flips[0], flips[1], flips[2]), (spacing[0], spacing[1], spacing[2])
    )
