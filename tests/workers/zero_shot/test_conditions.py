from __future__ import annotations

from typing import Any

import pytest
import torch

from storage.errors import ConfigurationError
from tests.support.framed import card_only
from workers.errors import ModelUnsuitable
from workers.foundation.card import Conditioning
from workers.foundation.contract import BodyRegion
from workers.zero_shot.conditions import ConditionPair, condition_pair

SPACING = (1.0, 2.0, 3.0)


def pair(conditioning: Conditioning, prompt: str = "tumor", **options: Any) -> ConditionPair:
    model = card_only(conditioning=conditioning, **options)
    return condition_pair(model, prompt, modality="MR", spacing_mm=SPACING)


def test_classes_and_vectors_come_from_the_card() -> None:
    told = pair(Conditioning.CLASS, classes={"normal": 9, "abnormal": 4})
    assert told.abnormal is not None
    assert (told.normal.class_label, told.abnormal.class_label) == (9, 4)
    assert told.normal.spacing_mm == SPACING
    vectors = pair(Conditioning.VECTOR, vectors={"normal": [0, 1], "abnormal": [1, 0]})
    assert vectors.abnormal is not None
    assert torch.equal(vectors.abnormal.vector, torch.tensor([[1.0, 0.0]]))  # type: ignore[arg-type]  # a tensor, or the test fails


def test_a_model_that_cannot_be_told_of_a_finding_is_asked_for_the_healthy_image_alone() -> None:
    assert pair(Conditioning.NONE).abnormal is None
    assert pair(Conditioning.CLASS).abnormal is None
    assert pair(Conditioning.VECTOR, vectors={"normal": [0, 1]}).abnormal is None
    regions = pair(Conditioning.REGIONS, regions=["chest", "abdomen"])
    assert (regions.normal.top, regions.normal.bottom) == (BodyRegion.CHEST, BodyRegion.ABDOMEN)


@pytest.mark.parametrize(
    ("conditioning", "options"),
    [
        (Conditioning.VECTOR, {}),
        (Conditioning.REGIONS, {"regions": ["chest", "knee"]}),
        (Conditioning.CLASS, {"classes": {"normal": 1}}),
        (Conditioning.CLASS, {"classes": {"normal": "one", "abnormal": 2}}),
        (Conditioning.TEXT, {"captions": {"normal": "a {organ}", "abnormal": ""}}),
    ],
)
def test_a_card_that_is_not_understood_is_refused(conditioning: Conditioning, options: dict[str, Any]) -> None:
    with pytest.raises(ModelUnsuitable, match="framed"):
        pair(conditioning, **options)


def test_a_prompt_without_words_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        pair(Conditioning.NONE, prompt="\t ")
