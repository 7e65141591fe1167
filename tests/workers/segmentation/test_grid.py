from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from storage.volumes import Geometry, Vector
from workers.segmentation import grid

AXES = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def disc(*, size: int, centre: tuple[float, float], radius: float, brightness: float = 100.0) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:size, :size]
    plane = np.hypot(rows - centre[0], columns - centre[1]) < radius
    return np.repeat(plane[None].astype(np.float32) * brightness, 4, axis=0)


def test_the_head_fills_the_crop_wherever_it_lies_and_however_large_the_field_of_view_is() -> None:
    near = disc(size=256, centre=(128, 128), radius=100)
    far = disc(size=256, centre=(80, 150), radius=40)
    frames = []
    for stack in (near, far):
        found = grid.find_crop(stack, (1.0, 1.0))
        assert found is not None
        frames.append(grid.to_model(stack, found, 128))
    assert np.abs(frames[0] - frames[1]).mean() < 0.03


def test_brightness_and_offset_of_the_scanner_do_not_matter() -> None:
    stack = disc(size=128, centre=(64, 64), radius=50)
    first, second = grid.find_crop(stack, (1.0, 1.0)), grid.find_crop(stack * 7 + 300, (1.0, 1.0))
    assert first is not None
    assert second is not None
    difference = grid.to_model(stack, first, 128) - grid.to_model(stack * 7 + 300, second, 128)
    assert np.abs(difference).max() < 1e-4


def test_unequal_pixel_sides_are_made_square() -> None:
    stack = disc(size=256, centre=(128, 128), radius=100)
    found = grid.find_crop(stack[:, ::2], (2.0, 1.0))
    assert found is not None
    assert found.height * 2.0 == pytest.approx(found.width)
    image = grid.to_model(stack[:, ::2], found, 128)[0] > -0.6
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 2


def test_a_map_comes_back_to_where_it_was_seen() -> None:
    stack = disc(size=200, centre=(100, 90), radius=70)
    lesion: NDArray[np.float32] = disc(size=200, centre=(120, 80), radius=15, brightness=1.0)
    found = grid.find_crop(stack, (1.0, 1.0))
    assert found is not None
    unit = grid.Crop(found.top, found.left, found.height, found.width, 0.0, 1.0)
    seen = np.asarray((grid.to_model(lesion, unit, 128) + 1) / 2, dtype=np.float32)
    back = grid.from_model(seen, found, (4, 200, 200)) > 0.5
    truth = lesion > 0
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.95


def test_a_stack_without_contrast_has_no_crop() -> None:
    assert grid.find_crop(np.full((3, 64, 64), 5.0, np.float32), (1.0, 1.0)) is None


def test_the_inside_of_the_skull_belongs_to_its_mask() -> None:
    image = disc(size=128, centre=(64, 64), radius=50, brightness=2.0)[0] - 1.0
    image[50:70, 50:70] = -1.0
    assert grid.skull_mask(image)[60, 60]
    assert not grid.skull_mask(image)[2, 2]


def geometry(directions: np.ndarray, spacing_mm: Vector = (5.0, 2.0, 1.0)) -> Geometry:
    slice_direction, column_direction, row_direction = (tuple(float(v) for v in row) for row in directions)
    return Geometry((0.0, 0.0, 0.0), row_direction, column_direction, slice_direction, spacing_mm)  # type: ignore[arg-type]  # three values each


def test_a_canonical_grid_is_left_alone() -> None:
    turn = grid.find_orientation(geometry(AXES))
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
    turn = grid.find_orientation(geometry(directions))
    np.testing.assert_array_equal(turn.apply(stored), canonical)
    np.testing.assert_array_equal(turn.undo(turn.apply(stored)), stored)


def test_spacing_follows_its_axis() -> None:
    sagittal = geometry(AXES[[2, 0, 1]], (9.0, 8.0, 7.0))
    assert grid.find_orientation(sagittal).spacing_mm == (8.0, 7.0, 9.0)


def test_a_tipped_grid_takes_the_nearest_axes() -> None:
    angle = np.deg2rad(25)
    tipped = np.array([[0, np.sin(angle), np.cos(angle)], [0, np.cos(angle), -np.sin(angle)], [1, 0, 0]])
    assert grid.find_orientation(geometry(tipped)).order == (0, 1, 2)


def test_a_stack_goes_to_the_volumes_grid_and_on_to_the_order_that_it_is_stored_in() -> None:
    stored = Geometry((0, 0, 0), (1, 0, 0), (0, -1, 0), (0, 0, 1), (5.0, 1.0, 1.0))
    place = grid.ModelGrid(grid.find_orientation(stored), grid.Crop(0.0, 0.0, 64.0, 64.0, 0.0, 1.0), (1, 64, 64))
    stack = np.zeros((1, 128, 128), np.float32)
    stack[0, :20] = 1.0
    assert place.spacing_mm == (5.0, 0.5, 0.5)
    np.testing.assert_array_equal(place.to_stored(place.to_volume(stack) > 0.5)[0].any(axis=1), np.arange(64) >= 54)
