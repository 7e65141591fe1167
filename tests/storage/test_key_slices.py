from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage.key_slices import choose_slices, key_slices, largest_slices


def _labels(shape: tuple[int, int, int], areas: dict[int, int], number: int = 1) -> NDArray[np.uint8]:
    labels = np.zeros(shape, dtype=np.uint8)
    for z, side in areas.items():
        labels[z, 10 : 10 + side, 10 : 10 + side] = number
    return labels


def test_the_slices_with_most_lesion_are_shown_in_the_order_of_the_stack() -> None:
    labels = _labels((9, 64, 64), {2: 3, 4: 9, 5: 8, 7: 1})
    assert choose_slices(labels, most=3) == (2, 4, 5)


def test_a_study_without_a_lesion_shows_a_few_slices_from_its_middle() -> None:
    assert choose_slices(np.zeros((21, 8, 8), np.uint8), most=12) == (5, 10, 15)
    assert choose_slices(np.zeros((1, 8, 8), np.uint8), most=12) == (0,)


def test_who_knows_how_many_were_drawn_gets_the_same_slices_again() -> None:
    lesions = _labels((9, 64, 64), {2: 3, 4: 9, 5: 8, 7: 1})
    organs = _labels((9, 64, 64), {1: 20, 2: 20, 3: 20}, number=5)
    for grid in (lesions, np.zeros_like(lesions)):
        for most in (1, 2, 3, 12):
            drawn = key_slices(grid, organs, most=most)
            assert key_slices(grid, organs, most=len(drawn)) == drawn


def test_organs_say_where_to_look_where_there_is_no_lesion() -> None:
    organs = _labels((21, 64, 64), dict.fromkeys(range(10, 15), 9))
    assert key_slices(np.zeros_like(organs), organs, most=12) == (11, 12, 13)


def test_each_lesion_is_shown_where_it_is_largest_and_no_slice_twice() -> None:
    labels = _labels((9, 64, 64), {2: 3, 4: 9}) + _labels((9, 64, 64), {6: 5, 7: 2}, number=2)
    labels[4, 40:50, 40:50] = 3
    assert largest_slices(labels) == (4, 6)
