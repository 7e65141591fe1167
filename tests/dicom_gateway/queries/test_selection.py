"""Which received and written objects a retrieval is about, on both kinds of database."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from dicom_gateway.queries.retrieval_keys import RetrievalKeys
from dicom_gateway.queries.selection import Selection
from storage import audit
from storage.database import Database, utc_now
from storage.holdings.question import Level
from storage.models import InstanceRow
from storage.objects import ObjectStore
from storage.result_tables import AnalysisRow, ResultObjectRow
from tests.support.records import analysed_study

STUDY = "2.25.1001"
SERIES = f"{STUDY}.1"


def keys(level: Level, series: str = "", *instances: str, studies: tuple[str, ...] = (STUDY,)) -> RetrievalKeys:
    return RetrievalKeys(level, "", studies, (series,) if series else (), instances)


@pytest.fixture
def chosen(database: Database, objects: ObjectStore) -> Selection:
    """Return what selects among a study of two images with a SEG and an SR."""
    analysed_study(database, objects)
    return Selection(database, objects, utc_now)


def _written(database: Database) -> ResultObjectRow:
    with database.read() as session:
        row = session.query(ResultObjectRow).order_by(ResultObjectRow.id).first()
        assert row is not None
        return row


def test_a_study_is_its_images_and_what_was_written_of_it(chosen: Selection) -> None:
    found = chosen.find(keys(Level.STUDY))
    assert [one.written for one in found] == [False, False, True, True]
    assert {one.series_instance_uid for one in found if not one.written} == {SERIES}
    (seg,) = chosen.find(keys(Level.SERIES, found[2].series_instance_uid))
    assert seg == found[2]


def test_what_retention_deleted_is_not_found(chosen: Selection) -> None:
    gone = f"{SERIES}.1"
    with chosen.database.write() as session:
        session.execute(update(InstanceRow).where(InstanceRow.sop_instance_uid == gone).values(deleted_at=utc_now()))
    assert gone not in {one.sop_instance_uid for one in chosen.find(keys(Level.STUDY))}
    assert chosen.find(keys(Level.IMAGE, SERIES, gone)) == ()


def test_a_superseded_result_is_found_only_by_its_name(chosen: Selection) -> None:
    written = _written(chosen.database)
    with chosen.database.write() as session:
        session.execute(update(AnalysisRow).values(superseded_at=utc_now()))
    assert not any(one.written for one in chosen.find(keys(Level.STUDY)))
    (found,) = chosen.find(keys(Level.IMAGE, written.series_instance_uid, written.sop_instance_uid))
    assert found.sop_instance_uid == written.sop_instance_uid
    assert chosen.find(keys(Level.IMAGE, SERIES, written.sop_instance_uid)) == ()


def test_who_gets_objects_is_an_event_of_each_study(
    chosen: Selection, database: Database, objects: ObjectStore
) -> None:
    analysed_study(database, objects, 2)
    found = chosen.find(keys(Level.STUDY, studies=(STUDY, "2.25.1002")))
    chosen.note(found, actor="VIEWER", destination="WS1")
    with database.read() as session:
        events = audit.history(session, tag="study:retrieved", limit=10)
    assert {(event.actor, event.study, event.details) for event in events} == {
        ("VIEWER", uid, '{"destination":"WS1","objects":4}') for uid in (STUDY, "2.25.1002")
    }
