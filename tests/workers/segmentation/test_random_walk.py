from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from workers.segmentation import random_walk
from workers.segmentation.edges import ImageGreys

SPACING = (5.0, 2.0, 2.0)
TISSUE = 0.4


def greys(grey: np.ndarray) -> ImageGreys:
    return ImageGreys(grey.astype(np.float32), tuple(np.full(100, TISSUE, np.float32) for _ in grey))


def bright_square(grey: float) -> np.ndarray:
    """Make seven slices of even tissue with an even square from row and column 20 to 40 in the middle three."""
    stack = np.full((7, 64, 64), TISSUE)
    stack[2:5, 20:40, 20:40] = grey
    return stack


def test_the_walkers_equation_is_solved() -> None:
    rng = np.random.default_rng(4)
    grey = TISSUE * (1.0 + 0.1 * rng.standard_normal((3, 5, 6)))
    scores = rng.random(grey.shape).astype(np.float32)
    found = random_walk.spread(scores, greys(grey), SPACING)
    np.testing.assert_allclose(found, _solved_densely(grey, scores), atol=2e-3)


def _solved_densely(grey: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Write the equation down voxel by voxel and solve it as a matrix."""
    smooth = ndimage.gaussian_filter((grey / TISSUE).astype(np.float32), (0, *2 * (random_walk.DENOISING_PIXELS,)))
    matrix = np.diag(np.full(scores.size, random_walk.PRIOR))
    numbers = np.arange(scores.size).reshape(scores.shape)
    for axis, share in enumerate(((SPACING[1] / SPACING[0]) ** 2, 1.0, 1.0)):
        here, there = (np.moveaxis(numbers, axis, 0)[part].ravel() for part in (slice(None, -1), slice(1, None)))
        step = np.moveaxis(smooth, axis, 0)
        weights = share * np.exp(-(((step[1:] - step[:-1]).ravel() / random_walk.LIKENESS) ** 2))
        for a, b, weight in zip(here, there, weights, strict=True):
            matrix[a, a] += weight
            matrix[b, b] += weight
            matrix[a, b] -= weight
            matrix[b, a] -= weight
    return np.linalg.solve(matrix, random_walk.PRIOR * scores.ravel()).reshape(scores.shape)


@pytest.mark.parametrize("grey", [0.7, 0.15], ids=["bright", "dark"])
def test_a_lesion_that_scores_in_parts_is_scored_as_one_up_to_where_the_grey_changes(grey: float) -> None:
    scores = np.zeros((7, 64, 64), np.float32)
    scores[2:5, 20:40, 20:34] = 0.9
    found = random_walk.spread(scores, greys(bright_square(grey)), SPACING)
    assert found[3, 20:40, 20:40].min() > 0.15
    assert found[3, 30, 42:].max() < 0.03
    assert found[3, 30, :18].max() < 0.03


def test_where_no_grey_changes_the_score_is_smoothed_alike_in_all_directions() -> None:
    scores = np.zeros((7, 64, 64), np.float32)
    scores[3, 32, 32] = 1.0
    found = random_walk.spread(scores, greys(np.full((7, 64, 64), TISSUE)), SPACING)
    assert found[3, 32, 32] > found[3, 32, 34] > found[3, 32, 40]
    np.testing.assert_allclose(found[3, 32, 28], found[3, 36, 32], atol=1e-4)


def test_an_even_score_stays_what_it_is() -> None:
    scores = np.full((7, 64, 64), 0.6, np.float32)
    np.testing.assert_allclose(random_walk.spread(scores, greys(bright_square(0.7)), SPACING), scores, atol=1e-3)


def test_thick_slices_hear_less_of_one_another_than_thin_ones() -> None:
    scores = np.zeros((7, 64, 64), np.float32)
    scores[3, 20:40, 20:40] = 0.9
    thick, thin = (random_walk.spread(scores, greys(bright_square(0.7)), (z, 2.0, 2.0)) for z in (6.0, 2.0))
    assert thick[2, 30, 30] < thin[2, 30, 30]


def test_without_tissue_to_compare_with_or_anything_scored_nothing_changes() -> None:
    scores = np.random.default_rng(1).random((7, 64, 64)).astype(np.float32)
    bare = ImageGreys(bright_square(0.7).astype(np.float32), tuple(np.empty(0, np.float32) for _ in range(7)))
    np.testing.assert_array_equal(random_walk.spread(scores, bare, SPACING), scores)
    nothing = np.zeros_like(scores)
    np.testing.assert_array_equal(random_walk.spread(nothing, greys(bright_square(0.7)), SPACING), nothing)
