"""Which way a volume's array has to be turned so that its axes run as those that a network was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.volumes import Geometry

Value = TypeVar("Value")

_DIRECTIONS = {
    "L": (1.0, 0.0, 0.0),
    "R": (-1.0, 0.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "S": (0.0, 0.0, 1.0),
    "I": (0.0, 0.0, -1.0),
}
"""Unit vectors in the patient coordinate system (PS3.3 C.7.6.2.1.1)."""


@dataclass(frozen=True, slots=True)
class ArrayAxes:
    """A turn of a ``[z, y, x]`` array without resampling: axis ``n`` of the result is axis ``order[n]`` of the array.

    ``flipped`` says for each axis of the result whether it then runs the other way.
    """

    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    def turn(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array of three axes, turned."""
        return np.flip(array.transpose(self.order), self._flips)

    def turn_back(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a turned array as the stored one lies."""
        return np.flip(array, self._flips).transpose(np.argsort(self.order))

    def pick(self, values: tuple[Value, ...]) -> list[Value]:
        """Return what belongs to the stored axes (their spacing) in the order of the turned ones."""
        return [values[axis] for axis in self.order]

    @property
    def _flips(self) -> tuple[int, ...]:
        return tuple(axis for axis, flipped in enumerate(self.flipped) if flipped)


def is_orientation(name: str) -> bool:
    """Say whether three letters name three different axes of the patient: LPS does, LRS does not."""
    axes = ["LRPASI".find(letter) // 2 for letter in name]
    return sorted(axes) == [0, 1, 2]


def nearest_axes(geometry: Geometry, orientation: str) -> ArrayAxes:
    """Return the turn after which x, y and z run as nearly as can be where ``orientation`` says: ``LPS``, ``RAS``."""
    wanted = np.array([_DIRECTIONS[letter] for letter in reversed(orientation)])
    stored = np.array([geometry.slice_direction, geometry.column_direction, geometry.row_direction])
    along = wanted @ stored.T  # [turned axis, stored axis]: the cosine between them
    turned = range(3)
    order = max(permutations(turned), key=lambda order: sum(abs(along[n, order[n]]) for n in turned))
    return ArrayAxes(order, tuple(bool(along[n, order[n]] < 0) for n in turned))
