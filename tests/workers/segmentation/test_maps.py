from __future__ import annotations

import numpy as np

from workers.segmentation.maps import on_rows, shown_slices, with_neighbours


def test_slices_that_the_skull_hardly_covers_are_not_scored() -> None:
    skull = np.zeros((5, 20, 20), bool)
    skull[1, :3, :4] = True  # 3 %, but little beside the widest slice
    skull[2] = True
    skull[3, :8] = True
    assert shown_slices(skull).tolist() == [2, 3]
    assert shown_slices(np.zeros((3, 20, 20), bool)).tolist() == []


def test_parts_are_put_on_their_slices_of_a_copy() -> None:
    rest = np.zeros((4, 2, 2), np.float32)
    whole = on_rows(np.array([1, 3]), [np.full((1, 2, 2), 5.0, np.float32), np.full((1, 2, 2), 7.0, np.float32)], rest)
    assert whole[:, 0, 0].tolist() == [0.0, 5.0, 0.0, 7.0]
    assert not rest.any()
    assert on_rows(np.array([1]), [], rest) is rest


def test_neighbours_lie_five_millimetres_away_and_the_ends_are_their_own() -> None:
    images = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    thick, thin = (with_neighbours(images, np.array([0, 3, 5]), spacing)[:, :, 0, 0] for spacing in (5.0, 2.5))
    assert thick.tolist() == [[0, 0, 1], [2, 3, 4], [4, 5, 5]]
    assert thin.tolist() == [[0, 0, 2], [1, 3, 5], [3, 5, 5]]
