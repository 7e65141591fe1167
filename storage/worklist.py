"""Read-only queries: the worklist and the study list. They bypass the state machines and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from storage import jobs, processes, routings
from storage.database import utc_now
from storage.domain import Extent, JobState, Presence, Priority, StudyState
from storage.errors import RecordMissing
from storage.jobs import Job
from storage.models import AnalysisRow, FindingRow, InstanceRow, JobRow, StudyRow
from storage.processes import Served
from storage.routings import RoutedStudy

NOTHING_FOUND = "none"
NO_WORKER = "no_worker_for_route"
"""Code of a job that waits because no worker at work serves its pool and analyser."""

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
class RouteResult:
    """What one route's analysis of a study came to so far, or how far its job is.

    The result is that of the newest job that has one; ``finding``, ``confidence``, ``priority`` and ``volume_ml`` are
    None where there is none, ``volume_ml`` also where the images tell no volumes. ``withheld`` says why it is not sent.
    """

    route: str
    state: JobState
    code: str | None
    finding: str | None
    volume_ml: float | None
    confidence: float | None
    priority: Priority | None
    label: str | None
    withheld: str | None
    out_of_distribution: float | None
    job_id: int
    result_job_id: int | None
    result_revision: int | None


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study as lists show it: the leading result of all its routes, and ``analyses`` with that of each.

    ``finding`` is the meaning of the leading finding's code, or «none»; ``confidence`` is in 0..1; the result's values
    are None where nothing has been analysed yet. ``id`` is our own number, safe to use in addresses. ``reasons`` says,
    for a study that no route wants, why each does not apply.
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
    """Return jobs, newest first; those that wait for a worker that is not there have the code of that."""
    served = processes.served(session, now=utc_now())
    return tuple(
        replace(job, code=job.code or _waits_for_nobody(job, served))
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
    counts = _instance_counts(session, ids)
    newest = _newest_jobs(session, ids)
    results = _valid_results(session, ids)
    findings = _findings(session, [analysis.job_id for found in results.values() for analysis, _ in found.values()])
    routed = routings.latest(session, ids)
    served = processes.served(session, now=utc_now())
    return tuple(
        _entry(
            row,
            counts.get(row.id, 0),
            _analyses(newest.get(row.id, {}), results.get(row.id, {}), findings, served),
            routed.get(row.id),
        )
        for row in rows
    )


def _entry(row: StudyRow, instances: int, analyses: tuple[RouteResult, ...], routed: RoutedStudy | None) -> StudyEntry:
    state = _state(row, analyses)
    leading = min((one for one in analyses if one.result_job_id is not None), key=_urgency, default=None)
    newest = max(analyses, key=lambda one: one.job_id, default=None)
    telling = next((one for one in analyses if one.state.value == state.value), newest)
    return StudyEntry(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        state=state,
        priority=leading.priority if leading else None,
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


def _analyses(
    newest: Mapping[str, JobRow],
    results: Mapping[str, tuple[AnalysisRow, int]],
    findings: Mapping[int, Sequence[FindingRow]],
    served: frozenset[Served],
) -> tuple[RouteResult, ...]:
    """Return what each route came to, by name; routes whose newest job is superseded and has no result are left out."""
    return tuple(_route_result(route, newest[route], results.get(route), findings, served) for route in sorted(newest))


def _route_result(
    route: str,
    job: JobRow,
    result: tuple[AnalysisRow, int] | None,
    findings: Mapping[int, Sequence[FindingRow]],
    served: frozenset[Served],
) -> RouteResult:
    analysis, revision = result or (None, None)
    found = findings.get(analysis.job_id, ()) if analysis else ()
    first = found[0] if found else None
    return RouteResult(
        route=route,
        state=JobState(job.state),
        code=job.code or _waits_for_nobody(job, served),
        finding=_name(first) if first else None,
        volume_ml=_volume(found),
        confidence=first.confidence if first else None,
        priority=Priority(analysis.priority) if analysis else None,
        label=first.label if first else None,
        withheld=analysis.withheld if analysis else None,
        out_of_distribution=analysis.out_of_distribution if analysis else None,
        job_id=job.id,
        result_job_id=analysis.job_id if analysis else None,
        result_revision=revision,
    )


def _waits_for_nobody(job: JobRow | Job, served: frozenset[Served]) -> str | None:
    """Return the code of a job that waits although workers are there: none of them serves its pool and analyser."""
    if job.state != JobState.QUEUED.value or not served:
        return None
    return None if Served(job.pool, job.analyser) in served else NO_WORKER


def _volume(findings: Sequence[FindingRow]) -> float | None:
    if not findings or any(finding.extent != Extent.VOLUME.value for finding in findings):
        return None
    return round(sum(finding.volume_ml for finding in findings), 3)


def _urgency(result: RouteResult) -> tuple[int, float, str]:
    """Return what results of one study are ordered by: priority, then confidence in what was found, then the route."""
    rank = result.priority.rank if result.priority else len(Priority)
    confidence = 0.0 if result.finding == NOTHING_FOUND else result.confidence or 0.0
    return rank, -confidence, result.route


def _name(finding: FindingRow) -> str:
    """Return what lists call a finding: a whole image's label stands for itself, or the reason for having none."""
    if finding.presence == Presence.ASSESSED.value:
        return finding.label or f"no label ({finding.abstained})"
    return NOTHING_FOUND if finding.presence == Presence.ABSENT.value else finding.code_meaning


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


def _newest_jobs(session: Session, ids: Sequence[int]) -> dict[int, dict[str, JobRow]]:
    """Return the newest job of each route of each study that is neither superseded nor ended in a superseded result."""
    query = (
        select(JobRow)
        .outerjoin(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(
            JobRow.study_id.in_(ids),
            JobRow.state != JobState.SUPERSEDED.value,
            AnalysisRow.superseded_at.is_(None),
        )
        .order_by(JobRow.id)
    )
    grouped: dict[int, dict[str, JobRow]] = {}
    for row in session.scalars(query):
        grouped.setdefault(row.study_id, {})[row.route] = row
    return grouped


def _valid_results(session: Session, ids: Sequence[int]) -> dict[int, dict[str, tuple[AnalysisRow, int]]]:
    """Return the result of each route of each study that no later one superseded, with its revision."""
    query = (
        select(JobRow.study_id, JobRow.route, AnalysisRow, JobRow.revision)
        .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(JobRow.study_id.in_(ids), AnalysisRow.superseded_at.is_(None))
        .order_by(JobRow.id)
    )
    grouped: dict[int, dict[str, tuple[AnalysisRow, int]]] = {}
    for study_id, route, analysis, revision in session.execute(query):
        grouped.setdefault(study_id, {})[route] = (analysis, revision)
    return grouped


def _findings(session: Session, job_ids: Sequence[int]) -> dict[int, list[FindingRow]]:
    """Return the findings of some jobs, the leading one of each first."""
    query = (
        select(FindingRow)
        .where(FindingRow.job_id.in_(job_ids))
        .order_by(FindingRow.job_id, FindingRow.confidence.desc(), FindingRow.number)
    )
    grouped: dict[int, list[FindingRow]] = {}
    for row in session.scalars(query):
        grouped.setdefault(row.job_id, []).append(row)
    return grouped
