"""Tests of the filling of a history: what is cast in bulk is what the project's own writers would have written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from benchmarks.history import filling, lists, rates, samples, trail
from benchmarks.history.filling import Size
from benchmarks.history.specimens import IMAGES
from storage import analyses, audit, standing, studies, worklist
from storage.audit import Outcome
from storage.audit_tables import AuditEventRow, AuditPendingRow
from storage.database import Database
from storage.history.keys import load_or_make_key
from storage.models import JobRow, StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.progress import unheard
from storage.study_pages import StudyList
from tests.support import records

SIZE = Size(studies=60, events=900)


@pytest.fixture
def filled(database: Database, objects: ObjectStore) -> Database:
    """Return a database with some studies and events."""
    filling.fill(database, objects, SIZE, on_progress=unheard)
    return database


def test_as_many_studies_and_events_are_there_as_asked_for_and_every_event_waits_to_be_sealed(filled: Database) -> None:
    assert filling.size_of(filled) == SIZE
    with filled.read() as session:
        assert len(session.scalars(select(AuditPendingRow.seq)).all()) == SIZE.events


def test_an_event_in_bulk_has_the_columns_that_recording_it_would_give_it(filled: Database) -> None:
    with filled.read() as session:
        events = [audit.event_of(row) for row in session.scalars(select(AuditEventRow))]
        keys = dict(session.execute(select(StudyRow.study_instance_uid, StudyRow.patient_key)).all())
    for event in events:
        details = json.loads(event.details)
        assert event.details == json.dumps(details, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        assert (event.route, event.model, event.weights) == tuple(details.get(k) for k in ("route", "model", "weights"))
        assert event.outcome == Outcome.of(event.tag).value
        assert event.patient_key == (keys[event.study] if event.study else None)


def test_events_of_a_study_name_its_own_job(filled: Database) -> None:
    with filled.read() as session:
        for job_id, uid in session.execute(select(JobRow.id, StudyRow.study_instance_uid).join(StudyRow)).all():
            found = audit.history(session, subject=f"job/{job_id}")
            assert {event.study for event in found} <= {uid}


def test_a_study_in_bulk_is_listed_with_its_result(filled: Database, objects: ObjectStore) -> None:
    with filled.read() as session:
        listed = worklist.listed(session, StudyList.ANALYSED)
        assert len(listed) > SIZE.studies // 2
        assert {entry.instances for entry in listed} == {IMAGES}
        assert len({entry.confidence for entry in listed}) > len(listed) // 2
        last = listed[-1]
        assert last.leading_job_id is not None
        assert analyses.load(session, last.leading_job_id, objects).decision.priority is last.priority
        assert len(studies.instances_of(session, last.id)) == IMAGES


def test_a_study_in_bulk_stands_where_its_rows_put_it(filled: Database) -> None:
    with filled.write() as session:
        columns = StandingRow.__table__.columns.keys()
        rows = session.scalars(select(StandingRow)).all()
        before = {row.study_id: {name: getattr(row, name) for name in columns} for row in rows}
        assert {row.unread for row in rows} == {True, False}
        for study_id, kept in before.items():
            row = standing.refresh(session, study_id, recount=True)
            assert {name: getattr(row, name) for name in columns} == kept


def test_every_question_of_the_benchmark_is_answered(filled: Database, tmp_path: Path) -> None:
    rates.seal(filled, load_or_make_key(tmp_path / "key", "oncue"))
    with filled.read() as session:
        taken = samples.take(session, count=3)
        for question in (*trail.trail(taken), *lists.questions(taken)):
            question.asked[0](session)


def test_life_goes_on_after_it(filled: Database) -> None:
    records.queued_study(filled)
    assert filling.size_of(filled).studies == SIZE.studies + 1


def test_events_in_bulk_cannot_be_changed(filled: Database) -> None:
    with pytest.raises(Exception, match="only ever added"), filled.engine.begin() as connection:
        connection.execute(update(AuditEventRow).values(actor="nobody"))
