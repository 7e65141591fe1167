from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from storage.domain import Geometry, Vector
from workers.segmentation import orientation

AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def geometry(directions: np.ndarray, spacing_mm: Vector = (5.0, 2.0, 1.0)) -> Geometry:
    slice_direction, column_direction, row_direction = (tuple(float(v) for v in row) for row in directions)
    return Geometry((0.0, 0.0, 0.0), row_direction, column_direction, slice_direction, spacing_mm)  # type: ignore[arg-type]  # three values each


def test_a_canonical_grid_is_left_alone() -> None:
    turn = orientation.find(geometry(AXES))
    assert turn.order == (0, 1, 2)
    assert turn.flipped == (False, False, False)
    assert turn.spacing_mm == (5.0, 2.0, 1.0)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1.0, -1.0), repeat=3)))
def test_every_stored_order_of_the_same_anatomy_becomes_the_same_stack(
    order: tuple[int, int, int], signs: tuple[float, float, float]
) -> None:
    canonical = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    stored = np.flip(canonical.transpose(order), tuple(axis for axis, sign in enumerate(signs) if sign < 0))
    directions = AXES[list(order)] * np.array(signs)[:, None]
    turn = orientation.find(geometry(directions))
    np.testing.assert_array_equal(turn.apply(stored), canonical)
    np.testing.assert_array_equal(turn.undo(turn.apply(stored)), stored)


def test_spacing_follows_its_axis() -> None:
    sagittal = geometry(AXES[[2, 0, 1]], (9.0, 8.0, 7.0))
    assert orientation.find(sagittal).spacing_mm == (8.0, 7.0, 9.0)


def test_a_tipped_grid_takes_the_nearest_axes() -> None:
    angle = np.deg2rad(25)
    tipped = np.array([[0, np.sin(angle), np.cos(angle)], [0, np.cos(angle), -np.sin(angle)], [1, 0, 0]])
    assert orientation.find(geometry(tipped)).order == (0, 1, 2)
