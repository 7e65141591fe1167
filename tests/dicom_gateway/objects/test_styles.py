"""Styles of destinations: other numbers, names and character sets, in objects of their own."""

from __future__ import annotations

import struct
from dataclasses import replace

import pydicom
import pytest

from dicom_gateway.errors import StyleInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.forms import write_forms
from dicom_gateway.objects.styles import ObjectStyle
from storage.domain import Analysis, LabelMap, ObjectKind
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject
from tests.support.pictured import pictured
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study

FORMS = (ObjectKind.SEG, ObjectKind.LABELMAP, ObjectKind.SR, ObjectKind.SC, ObjectKind.GSPS, ObjectKind.KO)


def write(analysis: Analysis, objects: ObjectStore, style: ObjectStyle | None = None) -> tuple[WrittenObject, ...]:
    chosen = style or ObjectStyle()
    written = write_forms(analysis, objects, FORMS, written_at=WRITTEN_AT, equipment=Equipment(), style=chosen)
    assert [item.flaw for item in written] == [None] * len(written)
    return written


def test_numbers_and_names_are_those_of_the_style(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = pictured(study, study.lesion_labels(), objects)
    style = ObjectStyle(series_number_base=700, series_description="Réponse de l'IA")
    read = {item.kind: pydicom.dcmread(objects.path(item.digest)) for item in write(analysis, objects, style)}
    numbers = {kind: dataset.SeriesNumber for kind, dataset in read.items()}
    assert numbers == {
        ObjectKind.SEG: 701,
        ObjectKind.SR: 702,
        ObjectKind.LABELMAP: 705,
        ObjectKind.SC: 706,
        ObjectKind.GSPS: 707,
        ObjectKind.KO: 708,
    }
    assert {dataset.SeriesDescription for dataset in read.values()} == {"Réponse de l'IA"}
    assert len({dataset.SeriesInstanceUID for dataset in read.values()}) == len(FORMS)


def test_another_style_gives_other_objects_and_the_same_style_the_same_bytes(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = pictured(study, study.lesion_labels(), objects)
    styles = (
        ObjectStyle(),
        ObjectStyle(series_number_base=0),
        ObjectStyle(series_description="AI"),
        ObjectStyle(series_description="AI", character_set="ISO_IR 192"),
    )
    written = [write(analysis, objects, style) for style in styles]
    uids = [item.sop_instance_uid for items in written for item in items]
    assert len(set(uids)) == len(uids)
    assert [write(analysis, objects, style) for style in styles] == written


@pytest.mark.parametrize(
    ("wanted", "name", "written_set"),
    [
        ("ISO_IR 192", "Größe^Zoë", "ISO_IR 192"),
        ("ISO_IR 100", "山田^太郎", "ISO_IR 192"),  # does not hold the name: the source's set stands
        (r"\ISO 2022 IR 87", "山田^太郎", ["", "ISO 2022 IR 87"]),
        ("GB18030", "王^小东", "GB18030"),
    ],
)
def test_text_is_written_in_the_set_of_the_style_where_that_holds_it(
    wanted: str, name: str, written_set: str | list[str], objects: ObjectStore
) -> None:
    study = store_study(LAYOUTS[0], objects, SpecificCharacterSet="ISO_IR 192", PatientName=name)
    analysis = pictured(study, study.lesion_labels(), objects)
    for item in write(analysis, objects, ObjectStyle(character_set=wanted)):
        dataset = pydicom.dcmread(objects.path(item.digest))
        assert dataset.SpecificCharacterSet == written_set
        assert dataset.PatientName == name
        assert dataset.PatientID == "PATIENT-17"


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's word on it
def test_text_that_cannot_be_read_stays_as_it_is(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects, SpecificCharacterSet="ISO_IR 192", PatientName="N" * 12)
    broken = "Müller^Jörg ".encode("latin-1")
    frames = tuple(
        replace(frame, digest=objects.put(objects.get(frame.digest).replace(b"N" * 12, broken)))
        for frame in study.frames
    )
    analysis = study.analysis(study.lesion_labels(), frames=frames, label_map=LabelMap(study.lesion_labels(), frames))
    for item in write(analysis, objects, ObjectStyle(character_set="ISO_IR 100")):
        content = objects.get(item.digest)
        assert b"PN" + struct.pack("<H", 12) + broken in content
        assert pydicom.dcmread(objects.path(item.digest)).SpecificCharacterSet == "ISO_IR 192"


def test_a_description_beyond_the_objects_set_is_reduced(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = pictured(study, study.lesion_labels(), objects)
    for item in write(analysis, objects, ObjectStyle(series_description="KI 結果 für mich")):
        assert pydicom.dcmread(objects.path(item.digest)).SeriesDescription == "KI  fur mich"


@pytest.mark.parametrize(
    "values",
    [
        {"series_number_base": -1},
        {"series_number_base": 2**31 - 5},
        {"series_description": ""},
        {"series_description": "x" * 65},
        {"series_description": "a\\b"},
        {"series_description": "x" * 56, "shows_priority": True},
        {"series_description": "a\nb"},
        {"character_set": "utf-8"},
        {"character_set": ""},
        {"character_set": r"ISO_IR 100\ISO_IR 192"},
    ],
)
def test_what_cannot_stand_in_an_object_is_no_style(values: dict[str, object]) -> None:
    with pytest.raises(StyleInvalid):
        ObjectStyle(**values)  # type: ignore[arg-type]  # values of either type
