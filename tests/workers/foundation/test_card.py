from __future__ import annotations

import json
from pathlib import Path

import pytest

from workers.errors import ModelUnsuitable
from workers.foundation.card import Bounds, FieldOfView, read_card


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
