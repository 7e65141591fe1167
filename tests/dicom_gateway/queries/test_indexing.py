"""What is stored is found by its headers, on both databases."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from sqlalchemy import func, select

from dicom_gateway.queries import headers
from storage.database import Database
from storage.holdings import noting
from storage.holdings import objects as held_objects
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.search import search
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.support.dicom import compressed, part10
from tests.support.held import NOW, found, hold, image, keys, read_headers, said, tag


def test_what_just_came_is_found_by_what_the_database_knows(database: Database, objects: ObjectStore) -> None:
    hold(database, objects, image("a", 1), image("a", 2))
    page = found(
        database, Level.STUDY, PatientID="PATIENT-17", ModalitiesInStudy="CT", NumberOfStudyRelatedInstances=""
    )
    assert said(page, "NumberOfStudyRelatedInstances") == ["2"]
    uid = said(page, "StudyInstanceUID")[0]
    assert said(found(database, Level.SERIES, StudyInstanceUID=uid, Modality=""), "Modality") == ["CT"]
    assert len(found(database, Level.IMAGE, StudyInstanceUID=uid).data_sets) == 2


def test_headers_are_read_and_answered_once_they_are_due(database: Database, objects: ObjectStore) -> None:
    hold(database, objects, image("a", 2, SeriesNumber=4, SeriesDescription="Dünn"), image("a", 1, SeriesNumber=4))
    read_headers(database, objects)
    study = found(database, Level.STUDY, PatientName="grosse*", StudyTime="").data_sets[0]
    assert study.values(tag("PatientName")) == ({"Alphabetic": "Größe^Zoë"},)
    uid = study.value(tag("StudyInstanceUID"))
    page = found(database, Level.IMAGE, StudyInstanceUID=uid, InstanceNumber="", Rows="", SeriesNumber="")
    assert (said(page, "InstanceNumber"), said(page, "Rows")) == (["1", "2"], ["16", "16"])
    assert said(page, "SeriesNumber") == ["4", "4"]
    assert not _is_due(database)


def test_a_corrected_patient_takes_the_place_of_the_one_before(database: Database, objects: ObjectStore) -> None:
    hold(database, objects, image("a", 1, PatientName="Wrong", PatientID="P0"))
    read_headers(database, objects)
    hold(database, objects, image("a", 1, PatientName="Right", PatientID="P1"), now=NOW + timedelta(minutes=1))
    read_headers(database, objects)
    assert said(found(database, Level.STUDY, PatientID=""), "PatientID") == ["P1"]
    assert not found(database, Level.STUDY, PatientName="Wrong").data_sets
    assert _count(database, ObjectHeaderRow) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"ISO_IR 192", b"rot13     "),
        (b"ISO_IR 192", b"NONSENSE  "),
        (b"20260301", b"yesterda"),
        ("Größe^Zoë".encode(), b"A\0B\x1b\xff=^=^=\xed\xa0"),
        (b"PATIENT-17", b"P\0\0\0\0\0\0\0\0\x01"),
        (b"IS\x02\x001 ", b"IS\x02\x00x\\"),
    ],
)
def test_odd_headers_are_rows_all_the_same(
    before: bytes, after: bytes, database: Database, objects: ObjectStore
) -> None:
    assert len(before) == len(after)
    hold(database, objects, image("odd"), changed=lambda content: content.replace(before, after))
    read_headers(database, objects)
    assert not _is_due(database)
    page = found(database, Level.IMAGE, PatientName="", StudyDate="", InstanceNumber="", SeriesNumber="")
    assert len(page.data_sets) == 1


def test_an_unreadable_file_is_answered_by_what_the_database_knows(database: Database, objects: ObjectStore) -> None:
    (stored,) = hold(database, objects, image("a"))
    objects.path(stored.digest).write_bytes(b"rotten")
    read_headers(database, objects)
    assert not _is_due(database)
    assert said(found(database, Level.IMAGE), "SOPInstanceUID") == [stored.sop_instance_uid]
    assert said(found(database, Level.STUDY, PatientID="PATIENT-17"), "StudyInstanceUID") == [stored.study_instance_uid]


def test_nothing_is_known_any_more_of_a_study_of_which_nothing_is_kept(
    database: Database, objects: ObjectStore
) -> None:
    hold(database, objects, image("a", 1), image("a", 2))
    read_headers(database, objects)
    with database.write() as session:
        study_id = session.scalars(select(HeldStudyRow.study_id)).one()
        for row in session.scalars(select(InstanceRow)):
            row.deleted_at = NOW
        session.flush()
        assert not search(session, HoldingsQuestion(Level.STUDY, keys(PatientID=""))).data_sets
        noting.note_deleted(session, study_id)
    assert [_count(database, row) for row in (HeldStudyRow, HeldSeriesRow, ObjectHeaderRow)] == [0, 0, 0]
    hold(database, objects, image("a", 1), now=NOW + timedelta(days=1))
    read_headers(database, objects)
    assert said(found(database, Level.STUDY, PatientName="grosse^zoe", NumberOfStudyRelatedInstances=""), "PatientID")
    with database.read() as session:
        assert len(held_objects.named(session, str(image("a", 1).SOPInstanceUID))) == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_numbers_of_an_image_are_read_in_every_transfer_syntax_and_none_of_its_pixels(
    syntax: str, tmp_path: Path
) -> None:
    made = image("a", 7, ImageType=["ORIGINAL", "PRIMARY"], SliceLocation="-12.5")
    made = compressed(made, syntax) if syntax == RLELossless else made
    made.file_meta.TransferSyntaxUID = UID(syntax)
    content = part10(made)
    file = tmp_path / "image.dcm"
    # What follows the beginning of the pixels may be anything.
    at = content.index(b"\xe0\x7f\x10\x00") + 12
    file.write_bytes(content[:at] + b"\xff" * (len(content) - at) if syntax == RLELossless else content)
    found = headers.read_image(file, syntax)
    numbers = [found.value(tag(keyword)) for keyword in ("InstanceNumber", "Rows", "SliceLocation")]
    assert numbers == ["7", "16", "-12.5"]
    assert found.values(tag("ImageType")) == ("ORIGINAL", "PRIMARY")


def _is_due(database: Database) -> bool:
    with database.read() as session:
        return session.scalar(select(func.count()).where(HeldStudyRow.is_due)) != 0


def _count(database: Database, row: type[HeldStudyRow | HeldSeriesRow | ObjectHeaderRow]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(row)) or 0
