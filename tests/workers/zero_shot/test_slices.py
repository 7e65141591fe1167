from __future__ import annotations

import numpy as np
import pytest
import torch

from phantom.head import head_phantom
from storage.volumes import Volume
from tests.support.framed import bounds, card_only
from tests.support.tiny_foundations import volume_of
from workers.errors import FieldOfViewMismatch, FieldOfViewUnknown, ModelUnsuitable
from workers.foundation.card import FieldOfView
from workers.zero_shot.slices import place_slices


@pytest.fixture(scope="module")
def volume() -> Volume:
    return volume_of(head_phantom(seed=5, size=96, slices=4, slice_mm=12.0))


def test_slices_have_the_models_size_and_range_and_maps_come_back(volume: Volume) -> None:
    frame = place_slices(volume, card_only(size=64))
    assert frame.images.shape == (4, 1, 64, 64)
    assert float(frame.images.min()) == -1.0
    assert float(frame.images.max()) == 1.0
    assert frame.spacing_mm[0] == frame.spacing_mm[1]
    back = frame.to_volume((frame.images + 1.0) / 2.0)
    low, high = np.percentile(volume.voxels, (0.5, 99.5))
    shown = np.clip((volume.voxels - low) / (high - low), 0.0, 1.0)
    assert np.corrcoef(back.ravel(), shown.ravel())[0, 1] > 0.95


def test_the_box_is_widened_to_the_least_that_the_card_allows(volume: Volume) -> None:
    frame = place_slices(volume, card_only(size=64, view=FieldOfView(bounds(300.0, 400.0, 2), None)))
    assert frame.spacing_mm[0] * 64 == pytest.approx(300.0)
    wide = place_slices(volume, card_only(size=64, view=FieldOfView(None, bounds(5.0, 9.0, 2))))
    assert wide.spacing_mm[0] == pytest.approx(5.0)


def test_a_patient_larger_than_the_field_of_view_is_refused(volume: Volume) -> None:
    with pytest.raises(FieldOfViewMismatch, match="10 to 100 mm"):
        place_slices(volume, card_only(size=64, view=FieldOfView(bounds(10.0, 100.0, 2), None)))


def test_a_card_without_a_field_of_view_or_with_a_senseless_size_is_refused(volume: Volume) -> None:
    with pytest.raises(FieldOfViewUnknown):
        place_slices(volume, card_only(size=64, view=None))
    with pytest.raises(ModelUnsuitable, match="size"):
        place_slices(volume, card_only(size=4))


def test_the_cards_grey_scale_is_taken(volume: Volume) -> None:
    frame = place_slices(volume, card_only(size=64, intensity="window", range=[0.0, 1000.0]))
    assert float(frame.images.max()) < 0.0
    with pytest.raises(ModelUnsuitable, match="intensity or range"):
        place_slices(volume, card_only(size=64, intensity="none"))


def test_tissue_is_the_head_and_not_the_air_around_it(volume: Volume) -> None:
    tissue = place_slices(volume, card_only(size=64)).tissue
    assert tissue.dtype == torch.bool
    assert bool(tissue[2, 0, 32, 32])
    assert not bool(tissue[:, 0, 0, 0].any())
