"""The smaller table must never say anything but what highdicom's own says."""

from __future__ import annotations

import json
import pkgutil

from highdicom import _standard_utils

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.standard_tables import ModuleTable, read_modules
from dicom_gateway.objects.writing import write_objects
from storage.objects import ObjectStore
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study


def test_every_module_of_the_standard_is_read_as_it_is() -> None:
    whole = json.loads(pkgutil.get_data("highdicom", "_standard/module_attribute_map.json") or b"")
    assert len(whole) > 400
    assert read_modules(whole) == whole


def test_a_module_is_read_when_it_is_asked_for_and_an_unknown_one_is_not_there() -> None:
    table = ModuleTable()
    assert "patient" in table
    assert "keyword" not in table
    assert list(table) == ["patient"]


def test_writing_keeps_a_small_part_of_the_standard(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    write_objects(study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert 0 < len(_standard_utils.get_module_attribute_map()) < 100
