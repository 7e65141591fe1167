"""Lists of studies, jobs and deliveries, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from storage import delivery_lists, job_lists, standing, studies, study_pages, worklist
from storage.database import Database
from storage.delivery_lists import Delivery
from storage.domain import Priority
from storage.errors import CursorInvalid
from storage.job_lists import Job
from storage.models import StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.states import DeliveryState, JobState, StudyState
from storage.study_pages import StudyFilter, StudyList
from tests.support.records import NOW, analysed_study, closed_study, failed_study, queued_study


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Collect the statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


@pytest.fixture
def four_studies(database: Database, objects: ObjectStore) -> Database:
    """Return a database with a HIGH and a STAT result, a failed study and one that no route wants."""
    analysed_study(database, objects, 1)
    analysed_study(database, objects, 2, priority=Priority.STAT)
    failed_study(database, 3)
    closed_study(database, 4, body_part="KNEE")
    return database


def test_filters_narrow_a_list(four_studies: Database) -> None:
    cases: tuple[tuple[StudyFilter, list[int]], ...] = (
        (StudyFilter(state=StudyState.FAILED), [3]),
        (StudyFilter(state=StudyState.NOT_APPLICABLE), [4]),
        (StudyFilter(state=StudyState.RECEIVING), []),
        (StudyFilter(priority=Priority.STAT), [2]),
        (StudyFilter(accession_number="ACC3"), [3]),
        (StudyFilter(accession_number="ACC2", priority=Priority.HIGH), []),
        (StudyFilter(patient_id="PATIENT-4711", state=StudyState.SUCCEEDED), [2, 1]),
        (StudyFilter(patient_id="somebody else"), []),
        (StudyFilter(since=NOW, until=NOW), [4, 3, 2, 1]),
        (StudyFilter(since=NOW + timedelta(seconds=1)), []),
        (StudyFilter(until=NOW - timedelta(seconds=1)), []),
    )
    with four_studies.read() as session:
        for wanted, found in cases:
            assert [entry.id for entry in worklist.studies(session, wanted=wanted)] == found, wanted
            assert study_pages.count(session, StudyList.ALL, wanted=wanted).number == len(found)
        stat = StudyFilter(priority=Priority.STAT, since=NOW)
        assert [entry.id for entry in worklist.worklist(session, wanted=stat)] == [2]


@pytest.mark.parametrize("which", StudyList)
def test_what_is_no_cursor_of_a_list_is_refused(four_studies: Database, which: StudyList) -> None:
    with pytest.raises(CursorInvalid), four_studies.read() as session:
        worklist.listed(session, which, after="17")


def test_jobs_and_deliveries_come_in_pages_too(four_studies: Database) -> None:
    def pages(read: Callable[[Session, str | None], tuple[Job, ...] | tuple[Delivery, ...]]) -> list[int]:
        found: list[int] = []
        after: str | None = None
        with four_studies.read() as session:
            while page := read(session, after):
                found += [item.id for item in page]
                after = page[-1].cursor
        return found

    assert pages(lambda session, after: worklist.listed_jobs(session, limit=2, after=after)) == [3, 2, 1]
    assert pages(lambda session, after: job_lists.listed(session, state=JobState.FAILED, limit=1, after=after)) == [3]
    assert pages(lambda session, after: delivery_lists.listed(session, limit=3, after=after)) == [4, 3, 2, 1]
    sent = DeliveryState.SENT
    assert pages(lambda session, after: delivery_lists.listed(session, state=sent, limit=3, after=after)) == []
    for refused in (job_lists.listed, delivery_lists.listed):
        with pytest.raises(CursorInvalid), four_studies.read() as session:
            refused(session, after="2026-03-01")


def test_a_study_whose_image_has_just_come_stands_among_the_newest(four_studies: Database) -> None:
    with four_studies.write() as session:
        studies.reroute(session, 2, actor="me", now=NOW)
        session.get_one(StudyRow, 2).last_instance_at = NOW + timedelta(seconds=9)
    with four_studies.read() as session:
        assert [entry.id for entry in worklist.studies(session, limit=2)] == [2, 4]
        assert [entry.id for entry in worklist.worklist(session)] == [2, 1]
        (first, *_) = worklist.studies(session, limit=1)
        assert [entry.id for entry in worklist.studies(session, limit=2, after=first.cursor)] == [4, 3]


@pytest.mark.parametrize("which", StudyList)
def test_a_page_takes_as_many_statements_for_a_hundred_studies_as_for_one(
    database: Database, objects: ObjectStore, which: StudyList
) -> None:
    for number in range(1, 7, 3):
        analysed_study(database, objects, number)
        queued_study(database, number + 1)
        closed_study(database, number + 2, body_part="KNEE")
    with database.write() as session:
        studies.reroute(session, 2, actor="me", now=NOW)
    counts = []
    for limit in (1, 6):
        with statements(database) as sent, database.read() as session:
            found = worklist.listed(session, which, limit=limit)
        counts.append(len(sent))
    assert len(found) > 1
    assert counts[0] <= counts[1] <= 12


@pytest.mark.slow
def test_a_page_of_all_of_very_many_studies_is_read(database: Database) -> None:
    count = 40_000
    with database.write() as session:
        rows = [
            {
                "id": number, "study_instance_uid": f"2.25.{number}", "revision": 1, "lane": "routine",
                "opened_at": NOW, "last_instance_at": NOW, "closed_at": NOW, "patient_id": "", "accession_number": "",
                "study_date": "", "study_description": "", "patient_key": None,
            }
            for number in range(1, count + 1)
        ]  # fmt: skip # reads by its lines
        session.execute(insert(StudyRow), rows)
        kept = {name: getattr(standing.arriving(1, NOW), name) for name in StandingRow.__mapper__.columns.keys()}  # noqa: SIM118 - a collection, no dictionary
        kept |= {"state": "not_applicable", "complete": True, "waiting": False}
        session.execute(insert(StandingRow), [{**kept, "study_id": row["id"]} for row in rows])
    with database.read() as session:
        assert len(worklist.studies(session, limit=count)) == count
        assert str(study_pages.count(session, StudyList.ALL)) == "more than 1,000"
        assert [entry.id for entry in worklist.not_applicable(session, limit=2)] == [count, count - 1]
