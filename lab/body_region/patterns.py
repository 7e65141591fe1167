"""Pictures without a body: noise, test patterns, blocks of one value. Stacks are float32 ``[z, y, x]``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy import float32, float64
from numpy.typing import NDArray
from scipy import ndimage

SLICES = 3
_SIDES = (24, 48, 96, 160, 256)

Plane = NDArray[float64]
_Draw = Callable[[np.random.Generator, int], Plane]


def pattern(number: int) -> NDArray[float32]:
    """Draw one stack: the same for the same number; kinds of patterns take turns."""
    rng = np.random.default_rng(number)
    side = int(rng.choice(_SIDES))
    draw = _DRAWN[number % len(_DRAWN)]
    return np.asarray(np.stack([draw(rng, side) for _ in range(SLICES)]), dtype=float32)


def _noise(rng: np.random.Generator, side: int) -> Plane:
    return rng.random((side, side)) if rng.random() < 0.5 else rng.normal(size=(side, side))  # noqa: PLR2004 - half each


def _rician(rng: np.random.Generator, side: int) -> Plane:
    return np.asarray(np.hypot(rng.normal(size=(side, side)), rng.normal(size=(side, side))))


def _clouds(rng: np.random.Generator, side: int) -> Plane:
    return np.asarray(ndimage.gaussian_filter(rng.normal(size=(side, side)), side * rng.uniform(0.005, 0.2)))


def _ramp(rng: np.random.Generator, side: int) -> Plane:
    rows, columns = _at(side)
    return np.asarray(rng.normal() * rows + rng.normal() * columns)


def _stripes(rng: np.random.Generator, side: int) -> Plane:
    rows, columns = _at(side)
    period = side * rng.uniform(0.04, 0.3)
    crossed = columns // period if rng.random() < 0.5 else np.zeros_like(rows)  # noqa: PLR2004 - half of them
    return np.asarray((rows // period + crossed) % 2)


def _ellipse(rng: np.random.Generator, side: int) -> Plane:
    rows, columns = _at(side)
    (y, x), (high, wide) = side * rng.uniform(0.4, 0.6, 2), side * rng.uniform(0.15, 0.48, 2)
    inside = ((rows - y) / high) ** 2 + ((columns - x) / wide) ** 2 < 1
    return _grained(rng, inside.astype(float64))


def _boxes(rng: np.random.Generator, side: int) -> Plane:
    plane = np.zeros((side, side))
    for _ in range(int(rng.integers(1, 5))):
        (top, left), (high, wide) = (
            (side * rng.uniform(0, 0.7, 2)).astype(int),
            (side * rng.uniform(0.1, 0.5, 2)).astype(int),
        )
        plane[top : top + high + 1, left : left + wide + 1] = rng.uniform(0.3, 1)
    return _grained(rng, plane)


def _grained(rng: np.random.Generator, plane: Plane) -> Plane:
    return np.asarray(plane + rng.choice((0.0, 0.02, 0.1)) * rng.normal(size=plane.shape))


def _at(side: int) -> tuple[Plane, Plane]:
    rows, columns = np.mgrid[:side, :side].astype(float64)
    return rows, columns


_DRAWN: Sequence[_Draw] = (_noise, _rician, _clouds, _ramp, _stripes, _ellipse, _boxes)
