"""Whose study it is, read from a stored image."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from pydicom.dataset import Dataset

from dicom_gateway.announcing.announcement import AnnouncedPatient
from dicom_gateway.announcing.patient import ConcernedPatient, PatientSource, read_patient
from storage import patient_keys
from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, put, series

SALT = "00" * 16


def image(**attributes: str) -> Dataset:
    made = series(SeriesPlan(shape=(1, 4, 4)))[0]
    for keyword, value in {"PatientID": "P1", **attributes}.items():
        setattr(made, keyword, value)
    return made


def source(objects: ObjectStore, *images: Dataset, former: str | None = None) -> PatientSource:
    digests = tuple(put(objects, one).digest for one in images)
    key = patient_keys.salted(SALT, former or "P1")
    return PatientSource(None if former else "P1", None if former else "A1", key, SALT, digests)


def unknown(patient_id: str, accession_number: str) -> ConcernedPatient:
    return ConcernedPatient(AnnouncedPatient(patient_id, "", "", None, ""), accession_number)


def test_name_birth_date_sex_and_issuer_are_those_of_the_image(objects: ObjectStore) -> None:
    one = image(
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jürgen^^Dr.",
        PatientBirthDate="19610203",
        PatientSex="M",
        IssuerOfPatientID="HOSPITAL",
    )
    found = read_patient(source(objects, one), objects)
    assert found.patient == AnnouncedPatient("P1", "HOSPITAL", "Müller^Jürgen^^Dr.", date(1961, 2, 3), "M")
    assert found.accession_number == "A1"


@pytest.mark.filterwarnings("ignore:Invalid value for VR DA")
@pytest.mark.parametrize("birth_date", ["", "1961", "19611340", "unknown"])
def test_a_birth_date_that_is_none_is_not_known(objects: ObjectStore, birth_date: str) -> None:
    found = read_patient(source(objects, image(PatientName="Doe^Jane", PatientBirthDate=birth_date)), objects)
    assert (found.patient.name, found.patient.birth_date) == ("Doe^Jane", None)


def test_an_image_of_another_patient_names_nobody(objects: ObjectStore) -> None:
    other = image(PatientID="P2", PatientName="Doe^Jane")
    assert read_patient(source(objects, other), objects) == unknown("P1", "A1")
    assert read_patient(source(objects, other, former="P3"), objects) == unknown("", "")


def test_whom_a_study_was_of_before_stands_in_what_was_corrected(objects: ObjectStore) -> None:
    former = image(PatientID="P3", PatientName="Doe^John", AccessionNumber="A3")
    found = read_patient(source(objects, image(), former, former="P3"), objects)
    assert (found.patient.patient_id, found.patient.name, found.accession_number) == ("P3", "Doe^John", "A3")


def test_images_that_are_gone_or_damaged_are_passed_over(objects: ObjectStore) -> None:
    whole = source(objects, image(PatientName="Doe^Jane"))
    lost = ("f" * 64, objects.put(b"no DICOM at all"))
    assert read_patient(replace(whole, digests=(*lost, *whole.digests)), objects).patient.name == "Doe^Jane"
    assert read_patient(replace(whole, digests=lost), objects) == unknown("P1", "A1")
