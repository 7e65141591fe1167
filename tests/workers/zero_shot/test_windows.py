from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from storage.volumes import Geometry, Volume
from tests.support.framed import bounds, card_only
from workers.errors import FieldOfViewMismatch, ModelUnsuitable
from workers.foundation.card import FieldOfView
from workers.zero_shot.windows import place_windows

AXIAL = Geometry((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (4.0, 2.0, 2.0))
SAGITTAL = Geometry((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), (4.0, 2.0, 2.0))


def blob(geometry: Geometry = AXIAL) -> Volume:
    """Return a bright head with one brighter corner, so that every turn shows."""
    voxels = np.zeros((12, 40, 36), dtype=np.float32)
    voxels[1:11, 4:36, 4:32] = 50.0
    voxels[7:10, 8:14, 22:30] = 100.0
    return Volume(voxels, geometry, "MR", "1", "2", None, ())


@pytest.mark.parametrize("geometry", [AXIAL, SAGITTAL])
@pytest.mark.parametrize("axes", ["RAS", "SPL", "LPS"])
@pytest.mark.parametrize("size", [None, "small"])
def test_what_the_model_sees_lands_where_it_came_from(geometry: Geometry, axes: str, size: str | None) -> None:
    volume = blob(geometry)
    options: dict[str, Any] = {} if size is None else {"size": [16, 16, 16]}
    frame = place_windows(volume, card_only(axes=axes, multiple=8, **options))
    back = frame.to_volume((frame.images > 0.9).float())
    assert back.shape == volume.voxels.shape
    assert np.array_equal(back > 0.5, volume.voxels == 100.0)


def test_axes_run_as_the_card_says() -> None:
    frame = place_windows(blob(), card_only(axes="RAS", multiple=4))
    assert frame.images.shape == (1, 1, 36, 40, 12)
    assert frame.spacing_mm == (2.0, 2.0, 4.0)
    x, y, z = (axis.float().mean() for axis in torch.nonzero(frame.images[0, 0] > 0.9, as_tuple=True))
    assert x < 18  # the bright corner is at the patient's left, and x runs to the right
    assert y > 20  # in front, and y runs to the front
    assert z > 6


def test_a_spacing_beyond_the_limits_is_resampled_to_them() -> None:
    view = FieldOfView(None, bounds(3.0, 3.0, 3))
    volume = blob()
    frame = place_windows(volume, card_only(axes="SPL", view=view, multiple=4))
    assert frame.spacing_mm == (3.0, 3.0, 3.0)
    back = frame.to_volume((frame.images + 1.0) / 2.0)
    assert np.corrcoef(back.ravel(), volume.voxels.ravel())[0, 1] > 0.95


def test_an_extent_beyond_the_limits_is_shown_in_windows_and_one_below_them_is_refused() -> None:
    frame = place_windows(blob(), card_only(axes="SPL", view=FieldOfView(bounds(16.0, 48.0, 3), None), multiple=4))
    assert len(frame.images) > 1
    assert all(side * step <= 48.0 for side, step in zip(frame.images.shape[2:], frame.spacing_mm, strict=True))
    with pytest.raises(FieldOfViewMismatch, match="200 to 400 mm"):
        place_windows(blob(), card_only(axes="SPL", view=FieldOfView(bounds(200.0, 400.0, 3), None), multiple=4))


def test_limits_that_no_window_fits_are_the_cards_fault() -> None:
    with pytest.raises(ModelUnsuitable, match="no window"):
        place_windows(blob(), card_only(axes="SPL", view=FieldOfView(bounds(1.0, 8.0, 3), None), multiple=16))
