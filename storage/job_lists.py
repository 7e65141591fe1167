"""Jobs as they stand: one, those of a study, and lists of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.cursors import number_place
from storage.domain import Lane
from storage.errors import RecordMissing
from storage.models import JobRow, StudyRow
from storage.result_tables import AnalysisRow
from storage.states import JobState


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands. ``wanted`` are the series that it reads; empty for jobs of before routes: all of them."""

    id: int
    study_instance_uid: str
    revision: int
    route: str
    routes_sha256: str | None
    pool: str
    analyser: str
    task: str | None
    wanted: tuple[str, ...]
    state: JobState
    lane: Lane
    attempts: int
    code: str | None
    reason: str | None
    opened_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None

    @property
    def cursor(self) -> str:
        """The place behind it in lists of the newest first."""
        return str(self.id)


def unfinished(session: Session, study_id: int) -> tuple[Job, ...]:
    """Return the queued and running jobs of a study."""
    states = (JobState.QUEUED.value, JobState.RUNNING.value)
    query = select(JobRow).where(JobRow.study_id == study_id, JobRow.state.in_(states)).order_by(JobRow.id)
    uid = _study_uid(session, study_id)
    return tuple(_job(row, uid) for row in session.scalars(query))


def newest_by_route(session: Session, study_id: int) -> dict[str, tuple[Job, str]]:
    """Return the newest job of each route of a study that holds, with the digest of what it was to read.

    Neither a superseded job does, nor one whose result is superseded.
    """
    query = (
        select(JobRow)
        .outerjoin(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(
            JobRow.study_id == study_id,
            JobRow.state != JobState.SUPERSEDED.value,
            AnalysisRow.superseded_at.is_(None),
        )
        .order_by(JobRow.id)
    )
    uid = _study_uid(session, study_id)
    return {row.route: (_job(row, uid), row.wanted_sha256) for row in session.scalars(query)}


def listed(
    session: Session, *, state: JobState | None = None, limit: int = 500, after: str | None = None
) -> tuple[Job, ...]:
    """Return jobs, newest first; ``after`` is the number of the one behind which the list goes on."""
    query = select(JobRow, StudyRow.study_instance_uid).join(StudyRow).order_by(JobRow.id.desc()).limit(limit)
    if state is not None:
        query = query.where(JobRow.state == state.value)
    if after is not None:
        query = query.where(JobRow.id < number_place(after))
    return tuple(_job(row, uid) for row, uid in session.execute(query))


def count(session: Session, *, state: JobState | None = None, cap: int) -> int:
    """Return how many jobs there are, counted to ``cap`` at most."""
    query = select(JobRow.id).limit(cap)
    if state is not None:
        query = query.where(JobRow.state == state.value)
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def find(session: Session, job_id: int) -> Job:
    """Return one job; RecordMissing where there is none."""
    row = session.get(JobRow, job_id)
    if row is None:
        raise RecordMissing(f"there is no job {job_id}; see `oncue jobs list`")
    return _job(row, _study_uid(session, row.study_id))


def _study_uid(session: Session, study_id: int) -> str:
    return session.scalars(select(StudyRow.study_instance_uid).where(StudyRow.id == study_id)).one()


def _job(row: JobRow, uid: str) -> Job:
    return Job(
        id=row.id,
        study_instance_uid=uid,
        revision=row.revision,
        route=row.route,
        routes_sha256=row.routes_sha256,
        pool=row.pool,
        analyser=row.analyser,
        task=row.task,
        wanted=tuple(json.loads(row.wanted)),
        state=JobState(row.state),
        lane=Lane(row.lane),
        attempts=row.attempts,
        code=row.code,
        reason=row.reason,
        opened_at=row.opened_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        lease_owner=row.lease_owner,
        lease_expires_at=row.lease_expires_at,
    )
