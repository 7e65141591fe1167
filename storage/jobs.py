"""The job state machine. Only this module writes ``JobRow.state``, and each step writes its audit event.

The committed row is the outbox (``job_messages``). A worker claims a row by compare-and-set under a lease; the fencing
token makes a late writer fail instead of overwriting its successor. Each step takes the study first, then the job.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage import audit, deletions, leases, notices, standing, study_locks
from storage.domain import Lane
from storage.errors import IllegalTransition, LeaseLost, RecordMissing, WorkerLost
from storage.models import JobRow, StudyRow
from storage.result_tables import AnalysisRow
from storage.states import JobState

ALLOWED: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.SUPERSEDED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED, JobState.SUPERSEDED}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.SUPERSEDED}),
    JobState.SUCCEEDED: frozenset({JobState.QUEUED}),
    JobState.SUPERSEDED: frozenset(),
}

MAX_ATTEMPTS = 3
_BACKOFF_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's hold on a job: good until the lease runs out, the token moves on, or the job is superseded."""

    job_id: int
    study_id: int
    study_instance_uid: str
    revision: int
    route: str
    attempt: int
    token: int
    owner: str
    lane: Lane = Lane.ROUTINE


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one route wants of one study revision: which series, and the digest of their images and of the route.

    ``routes_sha256`` names the file that the route stands in, ``task`` the few-shot task that it needs, if any.
    """

    route: str
    analyser: str
    pool: str
    series: tuple[str, ...]
    sha256: str
    routes_sha256: str
    task: str | None = None


def open_job(session: Session, study_id: int, revision: int, *, wanted: Wanted, lane: Lane, now: datetime) -> int:
    """Add the job of one route for a closed study revision, ready to be published.

    The caller has taken the study, and writes its standing.
    """
    row = JobRow(
        study_id=study_id,
        revision=revision,
        route=wanted.route,
        routes_sha256=wanted.routes_sha256,
        pool=wanted.pool,
        analyser=wanted.analyser,
        task=wanted.task,
        wanted=json.dumps(list(wanted.series)),
        wanted_sha256=wanted.sha256,
        state=JobState.QUEUED.value,
        lane=lane.value,
        attempts=0,
        token=0,
        opened_at=now,
    )
    session.add(row)
    session.flush()
    details = {"lane": lane.value, "routes": wanted.routes_sha256, "series_count": len(wanted.series)}
    record(session, row, "job:opened", actor="assembly", now=now, details=details)
    notices.withdraw(session, study_id, wanted.route, actor="assembly", now=now)
    return row.id


def claim(session: Session, job_id: int, *, owner: str, lease_seconds: float, now: datetime) -> Claim | None:
    """Take a queued job under a lease; None where it is taken, finished, gone or not due yet."""
    study_locks.take_of_job(session, job_id)
    row = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != JobState.QUEUED.value or (row.not_before is not None and row.not_before > now):
        return None
    _step(row, JobState.RUNNING)
    row.attempts += 1
    row.token += 1
    leases.take(row, owner, seconds=lease_seconds, now=now)
    row.started_at, row.finished_at, row.code, row.reason = now, None, None, None
    record(session, row, "job:claimed", actor=owner, now=now, details={"attempt": row.attempts, "token": row.token})
    standing.refresh(session, row.study_id)
    uid = session.scalars(select(StudyRow.study_instance_uid).where(StudyRow.id == row.study_id)).one()
    return Claim(row.id, row.study_id, uid, row.revision, row.route, row.attempts, row.token, owner, Lane(row.lane))


def extend_lease(session: Session, held: Claim, *, lease_seconds: float, now: datetime) -> None:
    """Push the lease's end further out; LeaseLost where somebody else holds the job by now."""
    # The job's row alone and not its study: heartbeats must not queue up behind ingest.
    leases.extend(_held_row(session, held), seconds=lease_seconds, now=now)


def complete(session: Session, held: Claim, *, now: datetime) -> None:
    """Finish a held job; the caller writes its analysis and the study's standing in the same transaction.

    LeaseLost for a late writer.
    """
    row = _held_row_of_study(session, held)
    _finish(row, JobState.SUCCEEDED, now=now)
    record(session, row, "job:succeeded", actor=held.owner, now=now, details={"attempt": row.attempts})


def fail(session: Session, held: Claim, *, code: str, reason: str, retryable: bool, now: datetime) -> JobState:
    """End a held job's attempt: queued again with a delay where trying again can help, failed otherwise."""
    row = _held_row_of_study(session, held)
    if retryable and row.attempts < MAX_ATTEMPTS:
        _requeue(row, delay_seconds=_BACKOFF_SECONDS * 2 ** (row.attempts - 1), now=now)
        row.code, row.reason = code, reason
        record(session, row, "job:requeued", actor=held.owner, now=now, details={"code": code})
        standing.refresh(session, row.study_id)
        return JobState.QUEUED
    _finish(row, JobState.FAILED, now=now)
    row.code, row.reason = code, reason
    record(session, row, "job:failed", actor=held.owner, now=now, details={"code": code})
    notices.open_notice(session, row.study_id, _subject(row, code), now=now)
    standing.refresh(session, row.study_id)
    return JobState.FAILED


def postpone(session: Session, held: Claim, *, code: str, reason: str, now: datetime) -> None:
    """Put a held job back that lacks what only people can give: the attempt does not count, and nothing is retried."""
    row = _held_row_of_study(session, held)
    _requeue(row, delay_seconds=0, now=now)
    row.attempts -= 1
    row.code, row.reason = code, reason
    record(session, row, "job:postponed", actor=held.owner, now=now, details={"code": code})
    standing.refresh(session, row.study_id)


def reclaim_expired(session: Session, *, now: datetime) -> tuple[int, ...]:
    """Take back running jobs whose lease ran out: queued again at once, or failed as ``worker_lost`` at the cap."""
    ended = (JobRow.state == JobState.RUNNING.value) & leases.ran_out(JobRow.lease_expires_at, now=now)
    # A study that somebody is busy with is looked at in the next round: one that hangs must not hold up the others.
    free = study_locks.take_free(session, select(JobRow.study_id).where(ended))
    # A row that a heartbeat is writing now is not one whose lease ran out.
    query = select(JobRow).where(ended, JobRow.study_id.in_(free)).order_by(JobRow.id)
    rows = session.scalars(_fresh(query.with_for_update(skip_locked=True))).all()
    for row in rows:
        _take_back(session, row, now=now)
    _refresh_standings(session, rows)
    return tuple(row.id for row in rows)


def hand_back(session: Session, held: Claim, *, reason: str, now: datetime) -> None:
    """Queue a held job again at once, as if this attempt had not been; LeaseLost where somebody else holds it."""
    _uncount(session, _held_row_of_study(session, held), actor=held.owner, reason=reason, now=now)
    standing.refresh(session, held.study_id)


def release_owner(session: Session, owner: str, *, innocent: Collection[int] = (), now: datetime) -> tuple[int, ...]:
    """Take back at once what a worker held that is known to be dead, without waiting for its lease.

    For the jobs in ``innocent``, which did not bring about its death, this attempt does not count.
    """
    is_held = (JobRow.state == JobState.RUNNING.value) & (JobRow.lease_owner == owner)
    taken = study_locks.take_all(session, select(JobRow.study_id).where(is_held))
    query = select(JobRow).where(is_held, JobRow.study_id.in_(taken)).order_by(JobRow.id)
    rows = session.scalars(_fresh(query.with_for_update())).all()
    for row in rows:
        if row.id in innocent:
            _uncount(session, row, actor="relay", reason="worker-lost", now=now)
        else:
            _take_back(session, row, now=now)
    _refresh_standings(session, rows)
    return tuple(row.id for row in rows)


def retry(session: Session, job_id: int, *, actor: str, now: datetime) -> None:
    """Queue a finished job again with its attempts counted anew; IllegalTransition for one that is not finished.

    ImagesDeleted where retention deleted what it reads. ResultsDeleted where it deleted what an earlier attempt wrote:
    the same UIDs would come to name other bytes.
    """
    study_locks.take_of_job(session, job_id)
    row = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise RecordMissing(f"there is no job {job_id}; see `oncue jobs list`")
    if row.state not in (JobState.FAILED.value, JobState.SUCCEEDED.value):
        raise IllegalTransition(f"job {job_id} is {row.state}; only a failed or succeeded job can be retried")
    newest = _newest_id(session, row)
    if newest != job_id:
        raise IllegalTransition(f"job {job_id} was followed by job {newest} of the same route; retry that one")
    if session.scalar(select(AnalysisRow.superseded_at).where(AnalysisRow.job_id == job_id)) is not None:
        # Its objects would be those that receivers were told to set aside.
        raise IllegalTransition(
            f"the result of job {job_id} does not hold any more, for its route no longer wants the study"
        )
    deletions.require_images(session, row.study_id, json.loads(row.wanted))
    deletions.require_results(session, job_id)
    _requeue(row, delay_seconds=0, now=now)
    row.attempts, row.code, row.reason = 0, None, None
    record(session, row, "job:retried", actor=actor, now=now)
    notices.withdraw(session, row.study_id, row.route, actor=actor, now=now)
    standing.refresh(session, row.study_id)


def supersede(session: Session, job_id: int, *, now: datetime) -> None:
    """Set a job aside that has no result: other images, or none, take its place. Who runs it loses its hold.

    The caller has taken the study, and writes its standing once all its jobs are written.
    """
    row = session.get_one(JobRow, job_id, with_for_update=True, populate_existing=True)
    _step(row, JobState.SUPERSEDED)
    leases.end(row)
    row.finished_at = now
    record(session, row, "job:superseded", actor="assembly", now=now)
    notices.withdraw(session, row.study_id, row.route, actor="assembly", now=now)


def _held_row_of_study(session: Session, held: Claim) -> JobRow:
    study_locks.take(session, held.study_id)
    return _held_row(session, held)


def _held_row(session: Session, held: Claim) -> JobRow:
    row = session.get(JobRow, held.job_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != JobState.RUNNING.value or row.token != held.token:
        raise LeaseLost(f"job {held.job_id} was taken over or superseded; this result is discarded")
    return row


def _fresh(query: Select[JobRow]) -> Select[JobRow]:
    """Return a query that reads rows anew which the session knows already: they may have changed before the lock."""
    return query.execution_options(populate_existing=True)


def _refresh_standings(session: Session, rows: Sequence[JobRow]) -> None:
    # In one order, and only now: whoever holds the lock of a study's standing waits for no job any more.
    session.flush()
    for study_id in sorted({row.study_id for row in rows}):
        standing.refresh(session, study_id)


def _newest_id(session: Session, row: JobRow) -> int:
    query = select(func.max(JobRow.id)).where(
        JobRow.study_id == row.study_id, JobRow.route == row.route, JobRow.state != JobState.SUPERSEDED.value
    )
    return session.scalar(query) or row.id


def _take_back(session: Session, row: JobRow, *, now: datetime) -> None:
    if row.attempts < MAX_ATTEMPTS:
        _requeue(row, delay_seconds=0, now=now)
        record(session, row, "job:lease-expired", actor="relay", now=now, details={"attempt": row.attempts})
        return
    _finish(row, JobState.FAILED, now=now)
    row.code = WorkerLost.code
    row.reason = f"the worker died or hung {row.attempts} times on this study; look at its log, then retry the job"
    record(session, row, "job:failed", actor="relay", now=now, details={"code": WorkerLost.code})
    notices.open_notice(session, row.study_id, _subject(row, WorkerLost.code), now=now)


def _subject(row: JobRow, code: str) -> notices.Subject:
    return notices.Subject(row.revision, code, route=row.route)


def _uncount(session: Session, row: JobRow, *, actor: str, reason: str, now: datetime) -> None:
    _requeue(row, delay_seconds=0, now=now)
    row.attempts -= 1
    record(session, row, "job:handed-back", actor=actor, now=now, details={"reason": reason})


def _requeue(row: JobRow, *, delay_seconds: float, now: datetime) -> None:
    _step(row, JobState.QUEUED)
    leases.end(row)
    row.published_at, row.finished_at = None, None
    row.not_before = now + timedelta(seconds=delay_seconds) if delay_seconds else None


def _finish(row: JobRow, state: JobState, *, now: datetime) -> None:
    _step(row, state)
    leases.end(row)
    row.finished_at = now


def _step(row: JobRow, state: JobState) -> None:
    if state not in ALLOWED[JobState(row.state)]:
        raise IllegalTransition(f"job {row.id} cannot go from {row.state} to {state}")
    row.state = state.value


def record(
    session: Session,
    row: JobRow,
    tag: str,
    *,
    actor: str,
    now: datetime,
    details: Mapping[str, audit.Detail] | None = None,
) -> None:
    """Write an audit event of a job, with its study, revision and route."""
    study = audit.study_of(session, row.study_id)
    context = {"study": study.uid, "revision": row.revision, "route": row.route, **(details or {})}
    audit.record(session, tag, f"job/{row.id}", actor=actor, now=now, details=context, study=study)
