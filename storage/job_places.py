"""Whether a job is better off elsewhere than in a worker that is busy with another one."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from storage.domain import Lane
from storage.models import JobRow, ProcessRow
from storage.processes import STALE_AFTER
from storage.states import JobState


class Better(StrEnum):
    """Why a job that waits in a busy worker is better off in the queue."""

    IDLE_WORKER = "idle-worker"
    MORE_URGENT = "more-urgent"


def better_place(session: Session, job_id: int, *, owner: str, now: datetime) -> Better | None:
    """Say why a job should not wait for a busy worker, or None where it may.

    Another worker of its pool that has its analyser is at work and holds no job; or a published job of the pool in a
    more urgent lane waits for a place.
    """
    row = session.get(JobRow, job_id)
    if row is None:
        return None
    if _has_idle_worker(session, row, owner, now=now):
        return Better.IDLE_WORKER
    urgent = tuple(Lane)[: tuple(Lane).index(Lane(row.lane))]
    return Better.MORE_URGENT if urgent and _waits_in(session, row.pool, urgent) else None


def _has_idle_worker(session: Session, row: JobRow, owner: str, *, now: datetime) -> bool:
    holds = exists().where(JobRow.state == JobState.RUNNING.value, JobRow.lease_owner == ProcessRow.id)
    query = select(ProcessRow.serves).where(
        ProcessRow.stopped_at.is_(None),
        ProcessRow.seen_at >= now - STALE_AFTER,
        ProcessRow.serves.is_not(None),
        ProcessRow.id != owner,
        ~holds,
    )
    return any([row.pool, row.analyser] in json.loads(serves or "[]") for serves in session.scalars(query))


def _waits_in(session: Session, pool: str, lanes: Collection[Lane]) -> bool:
    query = select(JobRow.id).where(
        JobRow.state == JobState.QUEUED.value,
        JobRow.pool == pool,
        JobRow.lane.in_([lane.value for lane in lanes]),
        JobRow.published_at.is_not(None),
    )
    return session.scalar(query.limit(1)) is not None
