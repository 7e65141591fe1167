"""The standing that is kept of each study is what its jobs and results say, after whatever happened to it."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import job_lists, jobs, migrate, standing, studies, study_pages, worklist
from storage.database import Database
from storage.domain import Priority
from storage.models import InstanceRow, JobRow, StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.result_tables import AnalysisRow
from storage.states import JobState, StudyState
from storage.study_pages import StudyFilter, StudyList
from storage.worklist import StudyEntry
from tests.support.histories import History
from tests.support.records import NOW, TWO_HEAD_ROUTES, closed_study

_COLUMNS = ("study_id", "state", "rank", "minus_confidence", "arrived_at", "leading_job_id", "instances", "analysed")


def _analysed(session: Session) -> set[int]:
    query = select(JobRow.study_id).join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
    return set(session.scalars(query.where(AnalysisRow.superseded_at.is_(None))))


def _in_memory(session: Session) -> dict[StudyList, list[int]]:
    """Return the studies of each list as they follow from reading every study, its jobs and its results."""
    entries = [worklist.find(session, number) for number in session.scalars(select(StudyRow.id))]
    analysed = _analysed(session)
    arrivals = sorted(entries, key=lambda entry: (entry.last_instance_at, entry.id), reverse=True)
    reading = sorted((entry for entry in entries if entry.id in analysed), key=_reading_order)
    unwanted = {entry.id for entry in entries if entry.state is StudyState.NOT_APPLICABLE}
    return {
        StudyList.ANALYSED: [entry.id for entry in reading],
        StudyList.WORKLIST: [entry.id for entry in reading if entry.unread],
        StudyList.ALL: [entry.id for entry in arrivals],
        StudyList.WAITING: [entry.id for entry in arrivals if entry.id not in analysed | unwanted],
        StudyList.NOT_APPLICABLE: [entry.id for entry in arrivals if entry.id in unwanted],
    }


def _reading_order(entry: StudyEntry) -> tuple[object, ...]:
    rank = entry.priority.rank if entry.priority else len(Priority)
    return rank, -(entry.confidence or 0.0), entry.last_instance_at, entry.id


def _by_pages(session: Session, which: StudyList, size: int, wanted: StudyFilter) -> list[int]:
    found: list[int] = []
    after: str | None = None
    while page := study_pages.page(session, which, wanted=wanted, limit=size, after=after):
        found += [place.study_id for place in page]
        after = page[-1].cursor
    return found


def _check(session: Session) -> None:
    for row in session.scalars(select(StandingRow)):
        entry = worklist.find(session, row.study_id)
        assert row.state == entry.state.value
        assert row.rank == (entry.priority.rank if entry.priority else len(Priority))
        assert row.minus_confidence == -(entry.confidence or 0.0)
        assert row.leading_job_id == entry.leading_job_id
        images = select(func.count()).where(InstanceRow.study_id == row.study_id, InstanceRow.current)
        assert entry.instances == session.scalar(images)
    for which, wanted in _in_memory(session).items():
        assert _by_pages(session, which, 2, StudyFilter()) == wanted
        assert study_pages.count(session, which).number == len(wanted)
        for state in StudyState:
            some = [number for number in wanted if worklist.find(session, number).state is state]
            assert _by_pages(session, which, 3, StudyFilter(state=state)) == some


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_what_is_kept_is_what_follows_from_jobs_and_results(
    database: Database, objects: ObjectStore, seed: int
) -> None:
    history, seen = History(database, objects, random.Random(seed)), set[str]()  # noqa: S311 - a seed, not a secret
    for number in range(160):
        history.step()
        if number % 8 == 0:
            with database.read() as session:
                _check(session)
                seen |= set(session.scalars(select(StandingRow.state)))
    assert len(seen) >= 5, "the history is worth the name"
    with database.read() as session:
        kept = _standings(session)
    migrate.downgrade(database, "0008")
    migrate.upgrade(database)
    with database.read() as session:
        assert _standings(session) == kept, "the migration finds what was kept"


def _standings(session: Session) -> list[tuple[object, ...]]:
    rows = session.execute(select(*(getattr(StandingRow, name) for name in _COLUMNS)).order_by(StandingRow.study_id))
    # While a study arrives neither its last image nor its images are kept with its standing.
    return [tuple(row) if row.state != "receiving" else (*row[:4], *row[5:6], *row[7:]) for row in rows]


def test_two_jobs_of_one_study_that_end_at_once_lose_nothing(database: Database) -> None:
    first, second = closed_study(database, routes=TWO_HEAD_ROUTES).job_ids
    with database.write() as session:
        held = [jobs.claim(session, number, owner="w", lease_seconds=60, now=NOW) for number in (first, second)]
    at_once = threading.Barrier(2)

    def end(claim: jobs.Claim) -> None:
        at_once.wait()
        with database.write() as session:
            jobs.fail(session, claim, code="c", reason="r", retryable=False, now=NOW)

    threads = [threading.Thread(target=end, args=(claim,)) for claim in held if claim]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert session.scalar(select(StandingRow.state)) == StudyState.FAILED.value
        assert {job.state for job in job_lists.listed(session)} == {JobState.FAILED}


def test_an_image_of_a_study_that_still_arrives_writes_nothing_for_the_lists(database: Database) -> None:
    closed_study(database, 1)
    with database.read() as session:
        before = session.get_one(StandingRow, 1).arrived_at
        assert before == session.get_one(StudyRow, 1).last_instance_at == NOW
    with database.write() as session:
        studies.reroute(session, 1, actor="me", now=NOW)
        session.get_one(StudyRow, 1).last_instance_at = NOW + timedelta(seconds=5)
    with database.read() as session:
        (place,) = study_pages.page(session, StudyList.WAITING, limit=5)
        assert place.cursor == "2026-03-01T12:00:05.000000Z~1"


def test_a_standing_that_was_never_written_is_written(database: Database) -> None:
    closed_study(database, 1)
    with database.write() as session:
        session.delete(session.get_one(StandingRow, 1))
    with database.write() as session:
        assert standing.refresh(session, 1, recount=True).instances == 2
    with database.read() as session:
        assert session.get_one(StandingRow, 1).state == StudyState.QUEUED.value
