from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workers.errors import FieldOfViewMismatch, FieldOfViewUnknown, ModelUnsuitable
from workers.foundation.card import Bounds, FieldOfView, ModelCard, ModelKind
from workers.foundation.field_of_view import check, turned

HEAD = FieldOfView(Bounds((200.0, 200.0), (260.0, 260.0)), Bounds((0.5, 0.5), (1.5, 1.5)))
CARD = ModelCard("brains", ModelKind.DIFFUSERS_LATENT, modalities=("MR",), field_of_view=HEAD)


def test_an_image_like_those_of_the_training_passes() -> None:
    check(CARD, (256, 256), (0.9, 0.9), modality="MR", factor=8)
    check(CARD, (200, 260), (1.0, 1.0), modality="MR")


@pytest.mark.parametrize(
    ("size", "spacing_mm", "modality", "says"),
    [
        ((128, 128), (0.5, 0.5), "MR", "field of view.*axis 0.*64 mm"),
        ((256, 256), (0.9, 2.0), "MR", "spacing.*axis 1.*2 mm"),
        ((256, 256), (0.9, 0.9), "CT", "trained for MR, not CT"),
        ((256, 250), (0.9, 0.9), "MR", "multiples of 8, not 250"),
        ((32, 256, 256), (6.0, 0.9, 0.9), "MR", "2 axes, the image 3"),
    ],
)
def test_another_field_of_view_spacing_modality_or_shape_is_refused_with_what_is_wrong(
    size: tuple[int, ...], spacing_mm: tuple[float, ...], modality: str, says: str
) -> None:
    with pytest.raises(FieldOfViewMismatch, match=says) as refused:
        check(CARD, size, spacing_mm, modality=modality, factor=8)
    assert refused.value.code == "field_of_view_mismatch"
    assert not refused.value.retryable


def test_a_model_that_nobody_described_is_shown_nothing() -> None:
    with pytest.raises(FieldOfViewUnknown) as refused:
        check(replace(CARD, field_of_view=None), (256, 256), (0.9, 0.9), modality="MR")
    assert refused.value.code == "field_of_view_unknown"


def test_a_model_for_any_field_of_view_takes_any() -> None:
    check(replace(CARD, modalities=(), field_of_view=FieldOfView(None, None)), (8, 8), (99.0, 0.1), modality="US")


def test_a_volume_turned_to_right_front_and_head_keeps_every_voxel_where_it_was_in_the_patient() -> None:
    volume = torch.arange(2 * 3 * 4).reshape(1, 1, 2, 3, 4)
    ras = turned(volume, "RAS")
    assert ras.shape == (1, 1, 4, 3, 2)
    head_back_left = volume[0, 0, -1, -1, -1]
    assert ras[0, 0, 0, 0, -1] == head_back_left
    assert torch.equal(turned(ras, "SPL", held="RAS"), volume)


@pytest.mark.parametrize("order", ["RA", "RAR", "XYZ"])
def test_an_order_that_is_none_is_refused(order: str) -> None:
    with pytest.raises(ModelUnsuitable):
        turned(torch.zeros(1, 1, 2, 3, 4), order)
