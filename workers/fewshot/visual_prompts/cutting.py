"""Cuts: a square around the mask, and the middle of any picture."""

from __future__ import annotations

import numpy as np

from workers.fewshot.contracts import Mask, Picture

MARGIN = 1.5
"""Side of the cut as a multiple of the longer side of the mask."""
LEAST_SHARE = 0.1
"""A cut is never smaller than this share of the shorter side: below it there are only a few pixels to look at."""
MIDDLE_SIDE = 0.6
"""Sides of the middle as shares of the picture's."""


def crop(picture: Picture, mask: Mask) -> tuple[Picture, Mask]:
    """Cut a square around the mask out of picture and mask.

    The square is moved back into the picture where it sticks out, and is smaller than planned only where the picture
    is: the surroundings are real tissue, never black.
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    extent = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    side = max(round(MARGIN * extent), round(LEAST_SHARE * min(mask.shape)), 1)
    where = tuple(
        _span((int(axis[0]) + int(axis[-1]) + 1) / 2, side, length)
        for axis, length in zip((rows, columns), mask.shape, strict=True)
    )
    return picture[where], mask[where]


def middle(picture: Picture) -> Picture:
    """Cut the middle out of a picture, in the picture's own proportions."""
    rows, columns = (_span(length / 2, max(1, round(MIDDLE_SIDE * length)), length) for length in picture.shape[:2])
    return np.ascontiguousarray(picture[rows, columns])


def _span(centre: float, side: int, length: int) -> slice:
    side = min(side, length)
    start = min(max(round(centre - side / 2), 0), length - side)
    return slice(start, start + side)
