from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import float32
from numpy.typing import NDArray

from workers.site_models.model_file import InputSection
from workers.site_models.network.sliding_window import Windows, patch_on, slide

SIDES = st.tuples(*[st.integers(1, 11)] * 3)


def both(patch: NDArray[float32]) -> NDArray[float32]:
    return np.stack([patch, 1 - patch])


def slid(grid: NDArray[float32], windows: Windows, run: object = both) -> NDArray[float32]:
    return np.stack(list(slide(grid, run, windows, check=lambda: None)), axis=1)  # type: ignore[arg-type]  # a plain function for a network


@given(SIDES, SIDES, st.sampled_from([0.0, 0.25, 0.5, 0.75]))
@settings(deadline=None)
def test_a_network_that_looks_at_single_voxels_puts_out_the_same_through_any_windows(
    shape: tuple[int, int, int], patch: tuple[int, int, int], overlap: float
) -> None:
    grid = np.random.default_rng(0).random(shape, dtype=float32)
    np.testing.assert_allclose(slid(grid, Windows(patch, overlap)), both(grid), atol=1e-5)


@given(SIDES, SIDES)
@settings(deadline=None)
def test_every_patch_has_the_side_that_the_network_was_trained_with(
    shape: tuple[int, int, int], patch: tuple[int, int, int]
) -> None:
    seen: list[tuple[int, ...]] = []

    def run(part: NDArray[float32]) -> NDArray[float32]:
        seen.append(part.shape)
        return part[None]

    slid(np.zeros(shape, float32), Windows(patch), run)
    assert set(seen) == {patch}


def test_what_lies_beyond_the_grid_has_the_value_outside() -> None:
    seen = []

    def run(part: NDArray[float32]) -> NDArray[float32]:
        seen.append(part)
        return part[None]

    made = slid(np.ones((2, 2, 3), float32), Windows((4, 2, 3), outside=-7.0), run)
    assert [float(plane[0, 0]) for plane in seen[0]] == [-7, 1, 1, -7]
    assert made.shape == (1, 2, 2, 3)
    assert (made == 1).all()


def test_centres_of_patches_count_more_than_their_edges() -> None:
    def run(part: NDArray[float32]) -> NDArray[float32]:
        made = np.zeros((1, *part.shape), float32)
        made[..., :2], made[..., -2:] = 100, 100
        return made

    line = slid(np.zeros((1, 1, 24), float32), Windows((1, 1, 16), 0.5), run)[0, 0, 0]
    assert line[9] < 1  # the edge of the second window, the middle of the first
    assert line[0] == 100  # no other window reaches there


def test_the_worker_is_asked_before_each_patch_and_can_end_it() -> None:
    class NoLongerWanted(Exception):
        pass

    asked: list[None] = []

    def check() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise NoLongerWanted

    with pytest.raises(NoLongerWanted):
        list(slide(np.zeros((1, 1, 64), float32), both, Windows((1, 1, 8)), check=check))


def test_memory_depends_on_the_depth_of_the_patch_not_on_the_length_of_the_scan() -> None:
    windows = Windows((8, 32, 32))
    peaks = []
    for depth in (64, 1024):
        grid = np.zeros((depth, 32, 32), float32)
        tracemalloc.start()
        for _ in slide(grid, both, windows, check=lambda: None):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_a_network_without_a_patch_gets_the_whole_grid_in_multiples() -> None:
    assert patch_on((20, 33, 48), InputSection(multiple=16)) == (32, 48, 48)
    assert patch_on((20, 33, 48), InputSection(multiple=16, axes="yx")) == (1, 48, 48)
    assert patch_on((20, 33, 48), InputSection(patch=(8, 16), axes="yx")) == (1, 8, 16)
