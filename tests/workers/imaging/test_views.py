from __future__ import annotations

import pytest
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from workers.imaging.views import read_view


def _code(value: str) -> Items:
    item = Dataset()
    item.CodeValue = value
    return Items([item])


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "MLO", "ImageLaterality": "L"}, "L MLO"),
        ({"ViewCodeSequence": _code("399162004"), "ImageLaterality": "R"}, "R CC"),
        ({"ViewCodeSequence": _code("R-10226"), "Laterality": "L"}, "L MLO"),
        ({"ViewCodeSequence": _code("272479007")}, "PA"),
        ({"PatientOrientation": ["A", "FR"]}, "A-FR"),
        ({"PatientOrientation": ["A", "FR"], "ViewPosition": "AP"}, "AP"),
        ({}, ""),
    ],
)
def test_a_view_is_said_in_codes_only(attributes: dict[str, object], view: str) -> None:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    assert read_view(dataset) == view


def test_what_people_wrote_in_place_of_a_code_is_dropped() -> None:
    dataset = Dataset()
    written = DataElement("ViewPosition", "CS", "for Mrs. Doe", validation_mode=config.IGNORE)
    dataset.add(written)
    assert read_view(dataset) == ""
