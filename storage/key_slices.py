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
    return widest_slices(areas, most=most) if areas.any() else spread_slices(labels, most=most)


def widest_slices(areas: NDArray[intp], *, most: int) -> tuple[int, ...]:
    """Return up to ``most`` slices of those with an area, by the area of each, in the order of the stack."""
    chosen = np.sort(np.argsort(-areas, kind="stable")[: min(most, np.count_nonzero(areas))])
    return tuple(int(z) for z in chosen)


def spread_slices(organs: NDArray[uint8], *, most: int) -> tuple[int, ...]:
    """Return three slices from the middle of where organs lie, or of the stack where there is none."""
    drawn = np.flatnonzero(organs.any(axis=(1, 2)))
    first, last = (drawn[0], drawn[-1]) if len(drawn) else (0, len(organs) - 1)
    chosen: NDArray[intp] = np.unique(np.linspace(first, last, 5).round().astype(intp)[1:4])[:most]
    return tuple(int(z) for z in chosen)


def areas_by_number(labels: NDArray[uint8]) -> NDArray[intp]:
    """Return how many pixels each number has in each slice: ``[z, 256]``."""
    return np.array([np.bincount(plane.reshape(-1), minlength=256) for plane in labels], dtype=intp)


def largest_slices(areas: NDArray[intp]) -> tuple[int, ...]:
    """Return the slice in which each number has the largest area ``[z, number]``, each once, in the stack's order."""
    return tuple(sorted({int(of_number.argmax()) for of_number in areas.T if of_number.any()}))
