"""What is stored is found by its headers, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from storage.database import Database
from storage.holdings import noting
from storage.holdings import objects as held_objects
from storage.holdings.question import HoldingsQuestion, Level
from storage.holdings.search import search
from storage.holdings.tables import HeldSeriesRow, HeldStudyRow, ObjectHeaderRow
from storage.models import InstanceRow
from storage.objects import ObjectStore
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


def _is_due(database: Database) -> bool:
    with database.read() as session:
        return session.scalar(select(func.count()).where(HeldStudyRow.is_due)) != 0


def _count(database: Database, row: type[HeldStudyRow | HeldSeriesRow | ObjectHeaderRow]) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(row)) or 0
