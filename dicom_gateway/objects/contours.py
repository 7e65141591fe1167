"""The outline of a mask, along the edges of its pixels: closed polygons, exactly around what was drawn.

Coordinates are (column, row) with 0, 0 at the outer corner of the first pixel and the corners of pixels at whole
numbers, as in graphic annotations in units of PIXEL (PS3.3 C.10.5.1.2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy import bool_, intp
from numpy.typing import NDArray

Point = tuple[int, int]

# Each side of a pixel, run through with the pixel to the right: where it lies outside, its start and its end.
_SIDES = (
    ((-1, 0), (0, 0), (1, 0)),
    ((0, 1), (1, 0), (1, 1)),
    ((1, 0), (1, 1), (0, 1)),
    ((0, -1), (0, 1), (0, 0)),
)


def outlines(mask: NDArray[bool_]) -> tuple[NDArray[intp], ...]:
    """Return each outline of a ``[y, x]`` mask as corners ``[n, 2]``, the first one repeated at the end.

    Parts that touch at a corner alone have outlines of their own, and so have holes. The order is fixed by the mask.
    """
    following = _edges(mask)
    loops = []
    while following:
        start = next(iter(following))
        loops.append(np.array(_corners(list(_walk(following, start))), dtype=intp))
    return tuple(loops)


def _edges(mask: NDArray[bool_]) -> dict[Point, list[Point]]:
    """Return where the edges of a mask lead from each corner."""
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    following: dict[Point, list[Point]] = {}
    for (down, right), (start_x, start_y), (end_x, end_y) in _SIDES:
        beyond = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
        for y, x in np.argwhere(mask & ~beyond).tolist():
            following.setdefault((x + start_x, y + start_y), []).append((x + end_x, y + end_y))
    return following


def _walk(following: dict[Point, list[Point]], start: Point) -> Iterator[Point]:
    """Follow the edges from a corner back to it, and take them out; right turns first, around the same pixel."""
    yield start
    before, here = start, _step(following, start, following[start][0])
    yield here
    # A corner that two outlines share is passed twice, unless the other one starts there.
    while here != start or _right_of(before, here) in following.get(here, ()):
        ends, right = following[here], _right_of(before, here)
        before, here = here, _step(following, here, right if right in ends else ends[0])
        yield here


def _step(following: dict[Point, list[Point]], here: Point, there: Point) -> Point:
    following[here].remove(there)
    if not following[here]:
        del following[here]
    return there


def _right_of(before: Point, here: Point) -> Point:
    """Return the corner to the right of an edge's end, one pixel on."""
    return here[0] - (here[1] - before[1]), here[1] + (here[0] - before[0])


def _corners(points: list[Point]) -> list[Point]:
    """Leave out the points at which a closed outline runs straight on."""
    ring = points[:-1]
    kept = [
        here
        for before, here, after in zip([ring[-1], *ring[:-1]], ring, [*ring[1:], ring[0]], strict=True)
        if (here[0] - before[0], here[1] - before[1]) != (after[0] - here[0], after[1] - here[1])
    ]
    return [*kept, kept[0]]
