"""Which slices of an analysed series are worth showing: those that pictures are drawn of, and that results point at.

Whoever knows how many were drawn gets the same slices again: the choice of ``most`` slices is the beginning of the
choice of more.
"""

from __future__ import annotations

import numpy as np
from numpy import intp, uint8
from numpy.typing import NDArray


def key_slices(lesions: NDArray[uint8], organs: NDArray[uint8], *, most: int) -> tuple[int, ...]:
    """Return the slices to draw of a ``[z, y, x]`` grid: by lesion area, or where there is none by where organs lie."""
    return choose_slices(lesions, most=most) if lesions.any() else spread_slices(organs, most=most)


def choose_slices(labels: NDArray[uint8], *, most: int) -> tuple[int, ...]:
    """Return up to ``most`` slices by lesion area, in the order of the stack; spread evenly where there is none."""
    areas = np.count_nonzero(labels, axis=(1, 2))
    if not areas.any():
        return spread_slices(labels, most=most)
    chosen = np.sort(np.argsort(-areas, kind="stable")[: min(most, np.count_nonzero(areas))])
    return tuple(int(z) for z in chosen)


def spread_slices(organs: NDArray[uint8], *, most: int) -> tuple[int, ...]:
    """Return three slices from the middle of where organs lie, or of the stack where there is none."""
    drawn = np.flatnonzero(organs.any(axis=(1, 2)))
    first, last = (drawn[0], drawn[-1]) if len(drawn) else (0, len(organs) - 1)
    chosen: NDArray[intp] = np.unique(np.linspace(first, last, 5).round().astype(intp)[1:4])[:most]
    return tuple(int(z) for z in chosen)


def largest_slices(labels: NDArray[uint8]) -> tuple[int, ...]:
    """Return the slice in which each number covers the most pixels, each slice once, in the order of the stack."""
    numbers = [int(number) for number in np.unique(labels) if number]
    return tuple(sorted({int(np.count_nonzero(labels == number, axis=(1, 2)).argmax()) for number in numbers}))
