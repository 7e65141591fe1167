"""Probabilities on a model's grid become labels and lesion probability on a volume's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy import float32
from numpy.typing import NDArray

from tests.support import drawn_ct
from workers.site_models.bundle import grid as bundle_grid
from workers.site_models.bundle.grid import Reading, draw, ras_affine

GRID = drawn_ct.Grid(spacing_mm=(5.0, 2.0, 3.0), shape=(6, 8, 10))
SOFTMAX = Reading(softmax=True, threshold=None, offset=0)
SIGMOID = Reading(softmax=False, threshold=0.5, offset=1)


def probabilities(*channels: NDArray[float32]) -> torch.Tensor:
    """Return channels ``[z, y, x]`` as a network gives them, ``[channel, x, y, z]``."""
    return torch.from_numpy(np.stack([channel.transpose(2, 1, 0) for channel in channels]))


def random_channels(count: int, shape: tuple[int, int, int] = GRID.shape) -> list[NDArray[float32]]:
    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=float32) for _ in range(count)]


def test_an_affine_leads_from_voxels_to_millimetres_to_the_right_the_front_and_the_head() -> None:
    volume = drawn_ct.draw(1, drawn_ct.SAGITTAL).volume
    x, y, z = 3, 4, 5
    geometry = volume.geometry
    lps = (
        np.array(geometry.origin_mm)
        + x * geometry.spacing_mm[2] * np.array(geometry.row_direction)
        + y * geometry.spacing_mm[1] * np.array(geometry.column_direction)
        + z * geometry.spacing_mm[0] * np.array(geometry.slice_direction)
    )
    ras = ras_affine(geometry) @ [x, y, z, 1]
    np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1])


@pytest.mark.parametrize("at_once", [1, 10**9])
def test_on_one_and_the_same_grid_every_voxel_keeps_its_own(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_grid, "MOST_VALUES", at_once)
    volume, channels = drawn_ct.draw(1, GRID).volume, random_channels(3)
    drawn = draw(probabilities(*channels), ras_affine(volume.geometry), volume=volume, reading=SOFTMAX, lesions=[2])
    np.testing.assert_array_equal(drawn.labels, np.argmax(channels, axis=0))
    np.testing.assert_allclose(drawn.lesion, channels[2], atol=1e-5)


def test_without_a_channel_for_background_the_most_probable_above_the_threshold_wins() -> None:
    volume, channels = drawn_ct.draw(1, GRID).volume, random_channels(2)
    drawn = draw(probabilities(*channels), ras_affine(volume.geometry), volume=volume, reading=SIGMOID, lesions=[1, 2])
    highest = np.max(channels, axis=0)
    np.testing.assert_array_equal(drawn.labels, np.where(highest >= 0.5, np.argmax(channels, axis=0) + 1, 0))
    np.testing.assert_allclose(drawn.lesion, highest, atol=1e-5)


def test_a_channel_for_background_is_never_a_label() -> None:
    volume, (background, tumour) = drawn_ct.draw(1, GRID).volume, random_channels(2)
    reading = Reading(softmax=False, threshold=0.5, offset=0)
    drawn = draw(
        probabilities(background, tumour), ras_affine(volume.geometry), volume=volume, reading=reading, lesions=[1]
    )
    np.testing.assert_array_equal(drawn.labels, tumour >= 0.5)


def test_where_the_model_did_not_look_there_is_nothing() -> None:
    volume = drawn_ct.draw(1, GRID).volume
    half = probabilities(np.ones((6, 8, 5), dtype=float32))
    drawn = draw(half, ras_affine(volume.geometry), volume=volume, reading=SIGMOID, lesions=[1])
    assert drawn.labels[:, :, :5].all()
    assert not drawn.labels[:, :, 6:].any()
    assert not drawn.lesion[:, :, 6:].any()


def test_a_finer_volume_is_filled_in_between() -> None:
    volume = drawn_ct.draw(1, GRID).volume
    coarse = ras_affine(volume.geometry) @ np.diag([2.0, 1.0, 1.0, 1.0])
    ramp = np.broadcast_to(np.linspace(0, 1, 5, dtype=float32), (6, 8, 5))
    drawn = draw(probabilities(ramp), coarse, volume=volume, reading=SIGMOID, lesions=[1])
    np.testing.assert_allclose(drawn.lesion[0, 0], [*(np.arange(9) / 8), 1.0], atol=1e-5)
