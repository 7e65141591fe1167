"""Whose study it is, read from a stored image."""

from __future__ import annotations

from datetime import date

import pytest
from pydicom.dataset import Dataset

from dicom_gateway.announcing.announcement import AnnouncedPatient
from dicom_gateway.announcing.patient import PatientSource, read_patient
from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, put, series

UNKNOWN = AnnouncedPatient("P1", "", "", None, "")


def image(**attributes: str) -> Dataset:
    made = series(SeriesPlan(shape=(1, 4, 4)))[0]
    for keyword, value in {"PatientID": "P1", **attributes}.items():
        setattr(made, keyword, value)
    return made


def source(objects: ObjectStore, *images: Dataset) -> PatientSource:
    return PatientSource("P1", "A1", tuple(put(objects, one).digest for one in images))


def test_name_birth_date_sex_and_issuer_are_those_of_the_image(objects: ObjectStore) -> None:
    one = image(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jürgen^^Dr.",
        PatientBirthDate="19610203",
        PatientSex="M",
        IssuerOfPatientID="HOSPITAL",
    )
    found = read_patient(source(objects, one), objects)
    assert found == AnnouncedPatient("P1", "HOSPITAL", "Müller^Jürgen^^Dr.", date(1961, 2, 3), "M")


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
@pytest.mark.parametrize("birth_date", ["", "1961", "19611340", "unknown"])
def test_a_birth_date_that_is_none_is_not_known(objects: ObjectStore, birth_date: str) -> None:
    found = read_patient(source(objects, image(PatientName="Doe^Jane", PatientBirthDate=birth_date)), objects)
    assert (found.name, found.birth_date) == ("Doe^Jane", None)


def test_an_image_of_another_patient_names_nobody(objects: ObjectStore) -> None:
    assert read_patient(source(objects, image(PatientID="P2", PatientName="Doe^Jane")), objects) == UNKNOWN


def test_images_that_are_gone_or_damaged_are_passed_over(objects: ObjectStore) -> None:
    whole = put(objects, image(PatientName="Doe^Jane")).digest
    damaged = objects.put(b"no DICOM at all")
    assert read_patient(PatientSource("P1", "A1", ("f" * 64, damaged, whole)), objects).name == "Doe^Jane"
    assert read_patient(PatientSource("P1", "A1", ("f" * 64, damaged)), objects) == UNKNOWN
