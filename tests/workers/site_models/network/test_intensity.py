from __future__ import annotations

import numpy as np
import pytest

from workers.errors import UnsuitableVolume
from workers.site_models.model_file import InputSection, Intensity
from workers.site_models.network.intensity import grey_scale

VOXELS = np.linspace(-1000, 1000, 2001, dtype=np.float32).reshape(3, 23, 29)


def scaled(intensity: Intensity, limits: tuple[float, float] | None = None) -> np.ndarray:
    return grey_scale(VOXELS, InputSection(intensity=intensity, range=limits)).apply(VOXELS)


def test_a_window_becomes_0_to_1_and_what_lies_beyond_is_held_there() -> None:
    made = scaled(Intensity.WINDOW, (-160.0, 240.0))
    np.testing.assert_allclose(made, np.clip((VOXELS + 160) / 400, 0, 1), atol=1e-6)


def test_percentiles_are_those_of_the_whole_volume() -> None:
    made = scaled(Intensity.PERCENTILES, (10.0, 90.0))
    np.testing.assert_allclose(made, np.clip((VOXELS + 800) / 1600, 0, 1), atol=1e-5)


def test_a_z_score_has_mean_0_and_deviation_1() -> None:
    made = scaled(Intensity.Z_SCORE)
    assert abs(made.mean()) < 1e-5
    assert made.std() == pytest.approx(1, abs=1e-5)


def test_without_a_scale_values_stay_and_the_lowest_lies_outside() -> None:
    scale = grey_scale(VOXELS, InputSection())
    assert scale.apply(VOXELS) is VOXELS
    assert scale.outside == -1000


@pytest.mark.parametrize("intensity", [Intensity.Z_SCORE, Intensity.PERCENTILES])
def test_a_volume_without_contrast_is_refused_where_it_is_scaled_by_its_own(intensity: Intensity) -> None:
    with pytest.raises(UnsuitableVolume, match="do not differ"):
        grey_scale(np.full((2, 3, 4), 7, np.float32), InputSection(intensity=intensity, range=(1.0, 99.0)))


def test_the_volume_itself_is_left_alone() -> None:
    before = VOXELS.copy()
    scaled(Intensity.WINDOW, (0.0, 1.0))
    np.testing.assert_array_equal(VOXELS, before)
