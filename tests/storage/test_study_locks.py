"""Writers at once on PostgreSQL: nobody waits who need not, nothing is lost, and nothing ever locks for good."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from storage import arrays, audit, jobs, registering, study_locks
from storage.arrival_tables import AssociationRow
from storage.arrivals import Origin, StudyFacts
from storage.audit import AuditEvent, event_of
from storage.audit_tables import AuditEventRow
from storage.database import Database, connect
from storage.delivery_tables import DeliveryRow
from storage.domain import StoredInstance
from storage.errors import WriteConflict
from storage.models import InstanceRow, JobRow, StudyRow
from storage.objects import ObjectStore
from storage.registering import Registration
from storage.result_tables import AnalysisRow, ReportRow, ResultObjectRow
from storage.states import DeliveryState, JobState, ReportState
from tests.support.hammering import Hammer
from tests.support.records import EXPLICIT, MR_IMAGE, NOW, queued_study, result

pytestmark = [pytest.mark.peer, pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)]

THREADS = 8
STRIKES = 70
A, B = "2.25.1", "2.25.2"


def _register(session: Session, uid: str, number: int = 1, *, sender: str = "SENDER") -> Registration:
    content = f"{number:064}"
    instance = StoredInstance(uid, f"{uid}.1", f"{uid}.1.{number}", MR_IMAGE, EXPLICIT, "MR", content, content, 10)
    return registering.register_instance(session, instance, StudyFacts(), origin=Origin(sender, None), now=NOW)


@contextmanager
def _impatient(database: Database) -> Iterator[Session]:
    """Open a transaction that gives up where it would have to wait."""
    with database.write() as session:
        session.execute(text("SET LOCAL lock_timeout = '500ms'"))
        yield session


def _at_once(acts: Sequence[Callable[[], object]]) -> None:
    """Do all of it in threads that begin together, and raise the first fault."""
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        start.wait()
        act()

    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(run, act) for act in acts]:
            done.result()


def test_images_of_two_studies_are_written_side_by_side(database: Database) -> None:
    with database.write() as first, _impatient(database) as second:
        assert _register(first, A) is Registration.NEW
        assert _register(second, B) is Registration.NEW


def test_who_would_wait_too_long_is_told_to_try_again(database: Database) -> None:
    with database.write() as session:
        _register(session, A)
    with database.write() as first:
        _register(first, A, 2)
        with pytest.raises(WriteConflict) as raised, _impatient(database) as second:
            _register(second, A, 3)
    assert raised.value.retryable


def test_a_heartbeat_waits_for_no_image_and_no_image_for_a_heartbeat(database: Database) -> None:
    queued = queued_study(database)
    with database.write() as session:
        held = jobs.claim(session, queued.job_id, owner="w1", lease_seconds=60, now=NOW)
    assert held is not None
    with database.write() as session:
        study_locks.take(session, held.study_id)
        with _impatient(database) as beating:
            jobs.extend_lease(beating, held, lease_seconds=60, now=NOW)
    with database.write() as beating:
        jobs.extend_lease(beating, held, lease_seconds=60, now=NOW)
        beating.flush()
        with _impatient(database) as session:
            assert _register(session, B) is Registration.NEW


def test_the_first_images_of_a_study_that_come_at_once_open_one_study(database: Database) -> None:
    def send(number: int) -> None:
        with database.write() as session:
            _register(session, A, number % 4, sender=f"SENDER{number}")

    _at_once([lambda number=number: send(number) for number in range(THREADS)])  # type: ignore[misc] # its types cannot be told from a default
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(StudyRow)) == 1
        assert session.scalar(select(func.count()).select_from(InstanceRow)) == 4
        assert Counter(event.tag for event in audit.history(session)) == {"study:opened": 1, "instance:stored": 4}


def test_writers_that_lock_each_other_out_are_told_to_try_again(database: Database) -> None:
    with database.write() as session:
        _register(session, A)
        _register(session, B)
    met, conflicts = threading.Barrier(2), []

    def cross(first: str, second: str) -> None:
        try:
            with database.write() as session:
                study_locks.take_named(session, first)
                met.wait()
                study_locks.take_named(session, second)
        except WriteConflict as conflict:
            conflicts.append(conflict)

    _at_once([lambda: cross(A, B), lambda: cross(B, A)])
    assert len(conflicts) == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_everything_at_once_loses_nothing_and_never_locks_for_good(
    database_url: str, objects: ObjectStore, seed: int
) -> None:
    analysis = result(objects)
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    hammers = [
        Hammer(connect(database_url), f"P{number}", random.Random(100 * seed + number), analysis, grid)  # noqa: S311 - dice
        for number in range(THREADS)
    ]
    for hammer in hammers:
        hammer.begin()

    _at_once([lambda hammer=hammer: [hammer.strike() for _ in range(STRIKES)] for hammer in hammers])  # type: ignore[misc] # its types cannot be told from a default

    with hammers[0].database.read() as session:
        events = [event_of(row) for row in session.scalars(select(AuditEventRow).order_by(AuditEventRow.seq))]
        outcomes = Counter(outcome for hammer in hammers for outcome in hammer.registered)
        _check_images(session, events, outcomes)
        _check_studies(session, events)
        _check_jobs(session, events)
        _check_results(session)
        _check_deliveries(session, events)
        _check_associations(session, events)
    for hammer in hammers:
        hammer.database.dispose()


def _check_images(session: Session, events: Sequence[AuditEvent], outcomes: Counter[Registration]) -> None:
    """Each UID and content has one row, the one that came last is current, and each change is on record once."""
    tags = Counter(event.tag for event in events)
    assert (tags["instance:stored"], tags["instance:changed"]) == (
        outcomes[Registration.NEW],
        outcomes[Registration.CHANGED],
    )
    last = {event.subject: json.loads(event.details)["digest"] for event in events if event.tag.startswith("instance:")}
    rows = session.scalars(select(InstanceRow).where(InstanceRow.current)).all()
    assert {f"instance/{row.sop_instance_uid}": row.digest for row in rows} == last
    assert len(rows) == len(last) == tags["instance:stored"]
    every = session.execute(select(InstanceRow.sop_instance_uid, InstanceRow.content_sha256)).all()
    assert len(every) == len(set(every))


def _check_studies(session: Session, events: Sequence[AuditEvent]) -> None:
    """Each study opened once, each reopening made one revision, and it is closed where its last event says so."""
    for study in session.scalars(select(StudyRow)):
        turns = ("study:opened", "study:reopened", "study:rerouted", "study:closed")
        tags = [one.tag for one in events if one.subject == f"study/{study.study_instance_uid}" and one.tag in turns]
        assert tags.count("study:opened") == 1
        assert study.revision == 1 + tags.count("study:reopened") + tags.count("study:rerouted")
        assert (study.closed_at is not None) == (tags[-1] == "study:closed")


_AFTER = {
    "job:opened": JobState.QUEUED,
    "job:claimed": JobState.RUNNING,
    "job:succeeded": JobState.SUCCEEDED,
    "job:failed": JobState.FAILED,
    "job:requeued": JobState.QUEUED,
    "job:postponed": JobState.QUEUED,
    "job:handed-back": JobState.QUEUED,
    "job:lease-expired": JobState.QUEUED,
    "job:retried": JobState.QUEUED,
    "job:superseded": JobState.SUPERSEDED,
}


def _check_jobs(session: Session, events: Sequence[AuditEvent]) -> None:
    """Each job's events lead to its state by steps of the table; tokens and attempts are as many as were claimed."""
    unfinished = Counter[tuple[int, str]]()
    for job in session.scalars(select(JobRow)):
        state, attempts, token = JobState.QUEUED, 0, 0
        own = [event for event in events if event.subject == f"job/{job.id}" and event.tag in _AFTER]
        for event in own[1:]:
            assert _AFTER[event.tag] in jobs.ALLOWED[state], (job.id, [one.tag for one in own])
            state = _AFTER[event.tag]
            token += event.tag == "job:claimed"
            attempts += (event.tag == "job:claimed") - (event.tag in ("job:handed-back", "job:postponed"))
            attempts = 0 if event.tag == "job:retried" else attempts
        assert (JobState(job.state), job.token, job.attempts) == (state, token, attempts)
        assert (job.lease_owner is not None) == (state is JobState.RUNNING)
        if state in (JobState.QUEUED, JobState.RUNNING):
            unfinished[job.study_id, job.route] += 1
    assert set(unfinished.values()) <= {1}


def _check_results(session: Session) -> None:
    """One result of a route holds at most, and none that does not is still to be written."""
    query = (
        select(JobRow.study_id, JobRow.route, AnalysisRow.superseded_at, ReportRow.state)
        .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .join(ReportRow, ReportRow.job_id == JobRow.id)
    )
    rows = session.execute(query).all()
    valid = Counter((row.study_id, row.route) for row in rows if row.superseded_at is None)
    assert rows
    assert set(valid.values()) <= {1}
    assert not [row for row in rows if row.superseded_at is not None and row.state == ReportState.PENDING.value]


def _check_deliveries(session: Session, events: Sequence[AuditEvent]) -> None:
    """No attempt ended twice, each row stands where its last event left it, and none begins of a superseded result."""
    after = {"sent": DeliveryState.SENT, "refused": DeliveryState.REFUSED, "superseded": DeliveryState.SUPERSEDED}
    own: dict[int, list[tuple[str, int]]] = {}
    for event in events:
        if event.tag.startswith("delivery:"):
            details = json.loads(event.details)
            own.setdefault(details["delivery"], []).append((event.tag.removeprefix("delivery:"), details["attempt"]))
    superseded = set(session.scalars(select(AnalysisRow.job_id).where(AnalysisRow.superseded_at.is_not(None))))
    query = select(DeliveryRow, ResultObjectRow).join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
    for row, item in session.execute(query):
        ended = [attempt for tag, attempt in own[row.id] if tag in ("sent", "refused", "postponed")]
        assert len(ended) == len(set(ended))
        assert max(ended, default=0) <= row.attempts
        if row.state != DeliveryState.SENDING.value:
            assert DeliveryState(row.state) is after.get(own[row.id][-1][0], DeliveryState.PENDING)
        if row.state == DeliveryState.PENDING.value and row.attempts == 0 and item.kind != "REJECT":
            assert item.job_id not in superseded


def _check_associations(session: Session, events: Sequence[AuditEvent]) -> None:
    """Each association that ended did so once."""
    closed = session.scalars(select(AssociationRow.id).where(AssociationRow.closed_at.is_not(None))).all()
    ends = Counter(event.subject for event in events if event.tag == "association:closed")
    assert ends == {f"association/{one}": 1 for one in closed}
