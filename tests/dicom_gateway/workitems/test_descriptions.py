"""Workitems of our own studies tell of patient and order what the images' headers do."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import delete, select

from dicom_gateway import data_sets
from dicom_gateway.workitems.descriptions import WorkitemDescriptions
from storage import reading
from storage.attributes import Attributes
from storage.database import Database, utc_now
from storage.objects import ObjectStore
from storage.uids import deterministic_uid
from storage.workitems import opening, workitems
from storage.workitems.attributes import Tag
from storage.workitems.tables import WorkitemRow
from tests.support.analysed_sources import analysed_source
from tests.support.records import analysed_study
from tests.support.sources import Layout, SourceStudy, store_study

_IMPLICIT = "1.2.840.10008.1.2"


def _described(database: Database, objects: ObjectStore, source: SourceStudy) -> Attributes:
    analysed_source(database, objects, source)
    assert WorkitemDescriptions(database, objects, utc_now).write_due() == 1
    assert WorkitemDescriptions(database, objects, utc_now).write_due() == 0
    uid = deterministic_uid("workitem", str(source.datasets[0].StudyInstanceUID), "1")
    with database.read() as session:
        return workitems.find(session, uid).data_set


def test_patient_and_order_are_those_of_the_header(sqlite_database: Database, objects: ObjectStore) -> None:
    request = Dataset()
    request.AccessionNumber, request.RequestedProcedureID = "ACC-OF-ITEM", "RP-1"
    request.RequestedProcedureDescription = "Schädel nativ"
    source = store_study(Layout("ordered"), objects, IssuerOfPatientID="HOSPITAL", RequestAttributesSequence=[request])
    found = _described(sqlite_database, objects, source)
    patient = [found.value(tag) for tag in (Tag.PatientName, Tag.PatientID, Tag.IssuerOfPatientID, Tag.PatientSex)]
    assert patient == ["Größe^Zoë", "PATIENT-17", "HOSPITAL", "F"]
    (order,) = found.items(Tag.ReferencedRequestSequence)
    assert [order.value(tag) for tag in (Tag.AccessionNumber, Tag.RequestedProcedureID)] == ["ACC-OF-ITEM", "RP-1"]
    assert order.value(Tag.RequestedProcedureDescription) == "Schädel nativ"
    assert order.value(Tag.StudyInstanceUID) == str(source.datasets[0].StudyInstanceUID)
    read = data_sets.decode(data_sets.encode(found, _IMPLICIT), _IMPLICIT)
    assert read.value(Tag.PatientName) == "Größe^Zoë"


def test_an_image_without_an_order_still_names_study_and_accession_number(
    sqlite_database: Database, objects: ObjectStore
) -> None:
    found = _described(sqlite_database, objects, store_study(Layout("plain"), objects))
    (order,) = found.items(Tag.ReferencedRequestSequence)
    assert order.value(Tag.AccessionNumber) == "ACC-4711"


@pytest.mark.parametrize("content", [b"", b"no DICOM file"])
def test_images_that_cannot_be_read_leave_what_the_records_say(
    sqlite_database: Database, objects: ObjectStore, content: bytes
) -> None:
    source = store_study(Layout("rotten"), objects)
    for frame in source.frames:
        objects.path(frame.digest).chmod(0o600)
        objects.path(frame.digest).write_bytes(content)
    found = _described(sqlite_database, objects, source)
    assert found.value(Tag.StudyInstanceUID) == str(source.datasets[0].StudyInstanceUID)
    with sqlite_database.read() as session:
        assert opening.undescribed(session, limit=1) == ()


def test_studies_of_before_there_were_workitems_get_one(database: Database, objects: ObjectStore) -> None:
    for number in (1, 2, 3):
        analysed_study(database, objects, number)
    with database.write() as session:
        reading.mark_read(session, 3, actor="web/anna", now=utc_now())
        session.execute(delete(WorkitemRow))
    assert WorkitemDescriptions(database, objects, utc_now).write_due() == 2
    with database.read() as session:
        rows = session.execute(select(WorkitemRow.study_id, WorkitemRow.state).order_by(WorkitemRow.study_id)).all()
    assert [tuple(row) for row in rows] == [(1, "SCHEDULED"), (2, "SCHEDULED")]
