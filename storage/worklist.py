"""Read-only queries: the worklist and the study list. They bypass the state machines and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from storage import jobs, route_results, routings
from storage.domain import JobState, Priority, StudyState
from storage.errors import RecordMissing
from storage.jobs import Job
from storage.models import AnalysisRow, InstanceRow, JobRow, StudyRow
from storage.route_results import RouteResult
from storage.routings import RoutedStudy

_STATES: tuple[tuple[JobState, StudyState], ...] = (
    (JobState.RUNNING, StudyState.RUNNING),
    (JobState.QUEUED, StudyState.QUEUED),
    (JobState.FAILED, StudyState.FAILED),
    (JobState.SUCCEEDED, StudyState.SUCCEEDED),
)
"""A study is in the first of these states that the newest job of any of its routes is in."""


_ANALYSED = (
    select(JobRow.study_id)
    .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
    .where(AnalysisRow.superseded_at.is_(None))
)
"""Studies with a result that no later one took the place of."""

_WANTED = (
    select(JobRow.study_id)
    .outerjoin(AnalysisRow, AnalysisRow.job_id == JobRow.id)
    .where(JobRow.state != JobState.SUPERSEDED.value, AnalysisRow.superseded_at.is_(None))
)
"""Studies with a job that holds."""


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study as lists show it: the leading result of all its routes, and ``analyses`` with that of each.

    ``priority`` is None also where the only results are withheld: what they say of input unlike anything that the
    model learned puts no study before another. ``finding`` is the meaning of the leading finding's code, or «none»;
    ``confidence`` is in 0..1; the result's values are None where nothing has been analysed yet. ``id`` is our own
    number, safe to use in addresses. ``reasons`` says, for a study that no route wants, why each does not apply.
    """

    id: int
    study_instance_uid: str
    revision: int
    state: StudyState
    priority: Priority | None
    instances: int
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    label: str | None
    job_id: int | None
    result_revision: int | None
    code: str | None
    patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    last_instance_at: datetime
    analyses: tuple[RouteResult, ...] = ()
    reasons: tuple[str, ...] = ()
    leading_job_id: int | None = None
    """The job whose result leads."""


def studies(session: Session, *, limit: int = 500) -> tuple[StudyEntry, ...]:
    """Return studies, the newest arrivals first."""
    return _arrivals(session, limit=limit)


def worklist(session: Session, *, limit: int = 500) -> tuple[StudyEntry, ...]:
    """Return studies with a result that holds, in reading order: by priority, then confidence, then arrival."""
    rows = session.scalars(select(StudyRow).where(StudyRow.id.in_(_ANALYSED))).all()
    return tuple(sorted(_entries(session, rows), key=_reading_order)[:limit])


def waiting(session: Session, *, limit: int = 500) -> tuple[StudyEntry, ...]:
    """Return studies without a result that a route wants or that still arrive, the newest arrivals first."""
    open_or_wanted = or_(StudyRow.closed_at.is_(None), StudyRow.id.in_(_WANTED))
    return _arrivals(session, open_or_wanted, StudyRow.id.not_in(_ANALYSED), limit=limit)


def not_applicable(session: Session, *, limit: int = 500) -> tuple[StudyEntry, ...]:
    """Return complete studies that no route wants, the newest arrivals first."""
    return _arrivals(session, StudyRow.closed_at.is_not(None), StudyRow.id.not_in(_WANTED), limit=limit)


def study(session: Session, study_instance_uid: str) -> StudyEntry | None:
    """Return one study, or None."""
    rows = session.scalars(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)).all()
    return next(iter(_entries(session, rows)), None)


def find(session: Session, study_id: int) -> StudyEntry:
    """Return the study with our number; RecordMissing where there is none."""
    row = session.get(StudyRow, study_id)
    if row is None:
        raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
    return _entries(session, [row])[0]


def listed_jobs(session: Session, *, state: JobState | None = None, limit: int = 500) -> tuple[Job, ...]:
    """Return jobs, newest first; those that wait for what is not there have the code of that."""
    met = route_results.needs_met(session)
    return tuple(
        replace(job, code=job.code or route_results.waits_for(job, met))
        for job in jobs.listed(session, state=state, limit=limit)
    )


def _arrivals(session: Session, *conditions: ColumnElement[bool], limit: int) -> tuple[StudyEntry, ...]:
    query = select(StudyRow).where(*conditions).order_by(StudyRow.last_instance_at.desc()).limit(limit)
    return _entries(session, session.scalars(query).all())


def _reading_order(entry: StudyEntry) -> tuple[int, float, datetime]:
    rank = entry.priority.rank if entry.priority else len(Priority)
    return rank, -(entry.confidence or 0.0), entry.last_instance_at


def _entries(session: Session, rows: Sequence[StudyRow]) -> tuple[StudyEntry, ...]:
    ids = [row.id for row in rows]
    counts, routed = _instance_counts(session, ids), routings.latest(session, ids)
    results = route_results.of_studies(session, ids)
    return tuple(_entry(row, counts.get(row.id, 0), results.get(row.id, ()), routed.get(row.id)) for row in rows)


def _entry(row: StudyRow, instances: int, analyses: tuple[RouteResult, ...], routed: RoutedStudy | None) -> StudyEntry:
    state = _state(row, analyses)
    leading = min((one for one in analyses if one.result_job_id is not None), key=route_results.urgency, default=None)
    newest = max(analyses, key=lambda one: one.job_id, default=None)
    telling = next((one for one in analyses if one.state.value == state.value), newest)
    return StudyEntry(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        state=state,
        priority=leading.priority if leading and leading.withheld is None else None,
        instances=instances,
        finding=leading.finding if leading else None,
        volume_ml=leading.volume_ml if leading else None,
        confidence=leading.confidence if leading else None,
        label=leading.label if leading else None,
        job_id=telling.job_id if telling else None,
        result_revision=leading.result_revision if leading else None,
        code=telling.code if telling else None,
        patient_id=row.patient_id,
        accession_number=row.accession_number,
        study_date=row.study_date,
        study_description=row.study_description,
        last_instance_at=row.last_instance_at,
        analyses=analyses,
        reasons=routed.reasons if routed and state is StudyState.NOT_APPLICABLE else (),
        leading_job_id=leading.result_job_id if leading else None,
    )


def _state(row: StudyRow, analyses: Sequence[RouteResult]) -> StudyState:
    if row.closed_at is None:
        return StudyState.RECEIVING
    states = {result.state for result in analyses}
    return next((state for job, state in _STATES if job in states), StudyState.NOT_APPLICABLE)


def _instance_counts(session: Session, ids: Sequence[int]) -> dict[int, int]:
    query = (
        select(InstanceRow.study_id, func.count())
        .where(InstanceRow.study_id.in_(ids), InstanceRow.current)
        .group_by(InstanceRow.study_id)
    )
    return dict(session.execute(query).all())
