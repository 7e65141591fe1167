from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from workers.segmentation import edges, grid

SPACING = (5.0, 1.7, 1.7)
REACH_MM = 7.0
TISSUE, LESION = 0.4, 0.8
MIDDLE = slice(2, 5)


def head(lesion: float = LESION, *, top: int = 50, bottom: int = 70) -> np.ndarray:
    """Make a stack of heads (-1..1) with noise, skull and a square lesion from column 40 to column 60."""
    rows, columns = np.mgrid[:128, :128]
    radius = np.hypot(rows - 64, columns - 64)
    grey = np.where(radius < 52, TISSUE, np.where(radius < 58, 0.95, 0.0))
    stack = np.repeat(grey[None], 7, axis=0) + np.random.default_rng(3).normal(0, 0.01, (7, 128, 128))
    stack[MIDDLE, top:bottom, 40:60] = lesion
    return np.clip(stack, 0, 1).astype(np.float32) * 2 - 1


def blob(top: int, bottom: int, left: int = 40, right: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Make a find: its mask, and a score that is certain inside and doubtful around it."""
    mask, score = np.zeros((7, 128, 128), bool), np.full((7, 128, 128), 0.01, np.float32)
    score[MIDDLE, top - 10 : bottom + 10, left - 10 : right + 10] = 0.05
    score[MIDDLE, top:bottom, left:right] = 0.97
    mask[MIDDLE, top:bottom, left:right] = True
    return mask, score


def moved(images: np.ndarray, mask: np.ndarray, score: np.ndarray) -> np.ndarray:
    greys = edges.image_greys(images, grid.skull_masks(images), score)
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    return edges.follow_grey(labels, score, greys, spacing_mm=SPACING, reach_mm=REACH_MM)


def lesion_of(images: np.ndarray) -> np.ndarray:
    found = np.zeros(images.shape, bool)
    found[MIDDLE, 50:70, 40:60] = True
    return found


@pytest.mark.parametrize("grey", [LESION, 0.15], ids=["bright", "dark"])
def test_a_find_gives_up_the_tissue_around_a_lesion(grey: float) -> None:
    images = head(grey)
    np.testing.assert_array_equal(moved(images, *blob(47, 73)), lesion_of(images))


def test_a_find_takes_in_the_rest_of_a_lesion_that_it_is_part_of() -> None:
    images = head()
    np.testing.assert_array_equal(moved(images, *blob(53, 66)), lesion_of(images))


def test_an_edge_moves_no_farther_than_its_reach() -> None:
    images = head(top=40)
    found = moved(images, *blob(54, 66))
    assert found[3, 50:70, 50].all()
    assert not found[3, :49, 50].any()


def test_an_edge_moves_no_farther_inwards_either() -> None:
    images = head(top=50, bottom=68)
    found = moved(images, *blob(50, 76))
    assert found[3, 50:71, 50].all()
    assert not found[3, 74:, 50].any()


def test_what_scores_nothing_is_not_taken_in_however_bright() -> None:
    images = head()
    mask, score = blob(53, 66)
    score[:, :53] = 0.0
    found = moved(images, mask, score)
    assert not found[:, :53].any()
    assert found[3, 66:70, 50].all()


def test_what_a_find_encloses_in_a_slice_belongs_to_it() -> None:
    images = head()
    images[3, 56:62, 46:52] = -0.8
    np.testing.assert_array_equal(moved(images, *blob(47, 73)), lesion_of(images))


def test_what_opens_to_the_tissue_around_a_find_is_left_out() -> None:
    images = head()
    images[3, 56:62, 57:60] = -0.8
    found = moved(images, *blob(50, 70))
    assert not found[3, 56:62, 57:60].any()
    assert found[3, 50:56, 40:60].all()


def test_a_find_that_its_grey_does_not_confirm_stays_as_it_is() -> None:
    mask, score = blob(45, 85)
    np.testing.assert_array_equal(moved(head(bottom=60), mask, score), mask)


def test_a_find_as_grey_as_its_surroundings_stays_as_it_is() -> None:
    mask, score = blob(50, 70)
    np.testing.assert_array_equal(moved(head(TISSUE), mask, score), mask)


def test_a_black_find_in_black_tissue_stays_as_it_is() -> None:
    images = np.full((7, 128, 128), -1.0, np.float32)
    rows, columns = np.mgrid[:128, :128]
    images[:, np.abs(np.hypot(rows - 64, columns - 64) - 55) < 3] = 0.9
    mask, score = blob(50, 70)
    np.testing.assert_array_equal(moved(images, mask, score), mask)


def test_without_tissue_to_compare_with_nothing_moves() -> None:
    mask, score = blob(47, 73)
    np.testing.assert_array_equal(moved(head(), mask, np.maximum(score, 0.5)), mask)


def test_each_of_two_finds_follows_its_own_grey() -> None:
    images = head()
    images[MIDDLE, 50:70, 75:90] = 0.3 * 2 - 1
    mask, score = blob(47, 73)
    other, more = blob(48, 72, 75, 90)
    found = moved(images, mask | other, np.maximum(score, more))
    assert found[3, 50:70, 40:60].all()
    assert found[3, 50:70, 75:90].all()
    assert found[3].sum() == 20 * 20 + 20 * 15


def test_nothing_found_is_nothing_moved() -> None:
    mask, score = blob(50, 70)
    assert not moved(head(), np.zeros_like(mask), score).any()


def test_the_numbers_of_the_components_may_have_gaps() -> None:
    images, (mask, score) = head(), blob(47, 73)
    greys = edges.image_greys(images, grid.skull_masks(images), score)
    found = edges.follow_grey(np.where(mask, 3, 0), score, greys, spacing_mm=SPACING, reach_mm=REACH_MM)
    np.testing.assert_array_equal(found, lesion_of(images))
