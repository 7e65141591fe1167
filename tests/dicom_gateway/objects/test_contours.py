from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dicom_gateway.objects.contours import outlines


def _filled(loops: tuple[NDArray[np.intp], ...], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return how often each pixel is enclosed: upward edges to its left count one, downward ones count minus one."""
    inside = np.zeros(shape, np.intp)
    for loop in loops:
        for (x, y), (_, next_y) in zip(loop[:-1].tolist(), loop[1:].tolist(), strict=True):
            low, high = sorted((y, next_y))
            inside[low:high, x:] += 1 if next_y < y else -1
    return inside


def test_a_pixel_is_outlined_along_its_edges() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    (outline,) = outlines(mask)
    assert outline.tolist() == [[2, 1], [3, 1], [3, 2], [2, 2], [2, 1]]


def test_pixels_that_touch_at_a_corner_are_two_outlines() -> None:
    assert len(outlines(np.eye(2, dtype=bool))) == 2


def test_a_hole_has_an_outline_of_its_own() -> None:
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert sorted(len(outline) for outline in outlines(ring)) == [5, 5]


def test_nothing_has_no_outline() -> None:
    assert outlines(np.zeros((3, 3), bool)) == ()


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=9))
def test_outlines_are_closed_and_enclose_exactly_the_mask(rows: list[list[bool]]) -> None:
    mask = np.array(rows, dtype=bool)
    loops = outlines(mask)
    for loop in loops:
        assert loop[0].tolist() == loop[-1].tolist()
        assert (np.abs(np.diff(loop, axis=0)).min(axis=1) == 0).all()
    assert (_filled(loops, mask.shape) == mask).all()
