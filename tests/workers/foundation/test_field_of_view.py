from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workers.errors import FieldOfViewMismatch, FieldOfViewUnknown, ModelUnsuitable
from workers.foundation.axes import turned, turned_sizes
from workers.foundation.card import Bounds, FieldOfView, ModelCard, ModelKind, read_card
from workers.foundation.fieldofview import check

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


def write(folder: Path, **fields: object) -> Path:
    content = {"format": 1, "name": "brains", "kind": "diffusers-latent"} | fields
    (folder / "backbone.json").write_text(json.dumps(content))
    return folder


def test_a_card_says_what_it_says_and_the_rest_stays_unknown(tmp_path: Path) -> None:
    view = {"extent_mm": {"low": [200, 200], "high": [260, 260]}}
    told = write(tmp_path, licence="CC-BY-4.0", commercial_use=True, modalities=["MR"], field_of_view=view)
    card = read_card(told)
    assert card.field_of_view == FieldOfView(Bounds((200.0, 200.0), (260.0, 260.0)), None)
    assert (card.licence, card.commercial_use, card.modalities) == ("CC-BY-4.0", True, ("MR",))
    untold = read_card(write(tmp_path))
    assert (untold.licence, untold.commercial_use, untold.field_of_view) == ("unknown", None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2},
        {"kind": "gan"},
        {"value_range": [0]},
        {"conditioning": "smell"},
        {"field_of_view": {"extent_mm": {"low": [9, 9], "high": [1, 1]}}},
        {"field_of_view": {"extent_mm": {"low": [1], "high": [1, 1]}}},
        {"field_of_view": [1, 2]},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ModelUnsuitable, match=r"backbone\.json"):
        read_card(write(tmp_path, **wrong))


def test_a_folder_without_card_and_without_networks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsuitable, match=r"no backbone\.json"):
        read_card(tmp_path)


def test_a_volume_turned_to_right_front_and_head_keeps_every_voxel_where_it_was_in_the_patient() -> None:
    volume = torch.arange(2 * 3 * 4).reshape(1, 1, 2, 3, 4)
    ras = turned(volume, "RAS")
    assert ras.shape == (1, 1, 4, 3, 2)
    head_back_left = volume[0, 0, -1, -1, -1]
    assert ras[0, 0, 0, 0, -1] == head_back_left
    assert torch.equal(turned(ras, "SPL", held="RAS"), volume)
    assert turned_sizes((5.0, 0.8, 0.7), "RAS") == (0.7, 0.8, 5.0)


@pytest.mark.parametrize("order", ["RA", "RAR", "XYZ"])
def test_an_order_that_is_none_is_refused(order: str) -> None:
    with pytest.raises(ModelUnsuitable):
        turned_sizes((1.0, 1.0, 1.0), order)
