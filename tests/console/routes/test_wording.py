from __future__ import annotations

from console.routes.wording import in_words
from storage.routes.conditions import Conditions


def test_every_condition_that_is_asked_is_said() -> None:
    asked = Conditions.model_validate(
        {
            "modality": ["mr", "CT"],
            "sop_class": ["1.2.3"],
            "body_part": ["head", "neck"],
            "body_part_unknown": False,
            "laterality": "L",
            "description": "flair",
            "not_description": "local",
            "study_description": "stroke",
            "calling_aet": ["CT*"],
            "station": ["SKYRA?"],
            "minimum_slices": 3,
            "maximum_slices": 400,
            "maximum_thickness_mm": 5,
            "contrast": False,
            "derived": True,
        }
    )
    assert in_words(asked) == (
        "modality MR or CT",
        "SOP class 1.2.3",
        "body region head or neck",
        "left side",
        "description like flair",
        "description not like local",
        "study description like stroke",
        "sent by CT*",
        "station SKYRA?",
        "3 to 400 slices",
        "at most 5 mm thick",
        "without a contrast agent",
        "derived images",
    )
    assert len(in_words(asked)) == len(asked.model_fields_set) - 2  # two pairs make one part each


def test_what_is_not_asked_is_not_said() -> None:
    assert in_words(Conditions(modality=("MR",))) == ("modality MR",)
