"""The outbox of jobs: which of them are to be handed to the broker, into which lane of which pool of workers.

Nothing here changes a job's state: ``published_at`` alone says whether a message is on its way. So the job's own row is
lock enough, and none of these waits for a second one while it holds it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select, tuple_
from sqlalchemy.orm import Session

from storage import jobs
from storage.domain import Lane
from storage.fewshot import promotions
from storage.models import JobRow
from storage.processes import Served
from storage.states import JobState

_HAS_TASK = and_(
    or_(JobRow.task.is_(None), JobRow.task.in_(promotions.predicting())),
    or_(
        JobRow.code.is_(None),
        JobRow.code != promotions.NONE_PROMOTED,
        JobRow.started_at <= promotions.newest_decision(),
    ),
)
"""Jobs that have the few-shot task that they need. One whose route names none, and for which none fitted when it was
tried, is tried once after each promotion."""


@dataclass(frozen=True, slots=True)
class DueJob:
    """A job that is to be published now, into a lane of a pool of workers."""

    id: int
    lane: Lane
    pool: str


def publishable(
    session: Session, *, now: datetime, served: Collection[Served] = (), limit: int = 100
) -> tuple[DueJob, ...]:
    """Return the queued jobs that are not published yet and whose retry time has come, oldest first.

    ``served`` is what the workers at work serve: a job for a pool that has workers, none with its analyser, stays back.
    So does one whose few-shot task has no promoted adapter, until there is one.
    """
    pools = {one.pool for one in served}
    within_reach = or_(JobRow.pool.not_in(pools), tuple_(JobRow.pool, JobRow.analyser).in_(_pairs(served)))
    query = (
        select(JobRow.id, JobRow.lane, JobRow.pool)
        .where(
            within_reach,
            _HAS_TASK,
            JobRow.state == JobState.QUEUED.value,
            JobRow.published_at.is_(None),
            or_(JobRow.not_before.is_(None), JobRow.not_before <= now),
        )
        .order_by(JobRow.opened_at, JobRow.id)
        .limit(limit)
    )
    return tuple(DueJob(row.id, Lane(row.lane), row.pool) for row in session.execute(query))


def published(session: Session, job_id: int, *, now: datetime) -> bool:
    """Record that a message for this job is handed to the broker; False where another relay was faster."""
    row = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != JobState.QUEUED.value or row.published_at is not None:
        return False
    row.published_at = now
    jobs.record(session, row, "job:published", actor="relay", now=now, details={"lane": row.lane})
    return True


def hand_back(session: Session, job_id: int, *, actor: str, now: datetime) -> None:
    """Take back the message of a queued job whose analyser the worker that got it does not have."""
    row = session.get(JobRow, job_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != JobState.QUEUED.value or row.published_at is None:
        return
    row.published_at = None
    jobs.record(session, row, "job:handed-back", actor=actor, now=now, details={"analyser": row.analyser})


def lanes_with_messages(session: Session) -> tuple[tuple[str, Lane], ...]:
    """Return the pools and lanes in which jobs are published and not yet claimed."""
    query = select(JobRow.pool, JobRow.lane).where(
        JobRow.state == JobState.QUEUED.value, JobRow.published_at.is_not(None)
    )
    found = session.execute(query.distinct().order_by(JobRow.pool, JobRow.lane))
    return tuple((pool, Lane(lane)) for pool, lane in found)


def republish_lost(session: Session, pool: str, lane: Lane, *, older_than: timedelta, now: datetime) -> int:
    """Mark published but unclaimed jobs of a lane for publishing again, because the broker's queue is empty."""
    is_lost = (JobRow.state == JobState.QUEUED.value) & (JobRow.published_at < now - older_than)
    query = select(JobRow).where(is_lost, JobRow.pool == pool, JobRow.lane == lane.value).order_by(JobRow.id)
    # One that somebody is writing now is being claimed or set aside.
    query = query.with_for_update(skip_locked=True).execution_options(populate_existing=True)
    rows = session.scalars(query).all()
    for row in rows:
        row.published_at = None
        jobs.record(session, row, "job:message-lost", actor="relay", now=now)
    return len(rows)


def _pairs(served: Collection[Served]) -> list[tuple[str, str]]:
    return sorted((one.pool, one.analyser) for one in served)
