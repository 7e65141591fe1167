"""Read-only queries: the worklist and the study list. They bypass the state machines and change nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.domain import JobState, Presence, Priority, StudyState
from storage.errors import RecordMissing
from storage.models import AnalysisRow, FindingRow, InstanceRow, JobRow, StudyRow

NOTHING_FOUND = "none"


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study as lists show it. The result is that of the newest revision that has one.

    ``finding`` is the meaning of the leading finding's code, or «none»; ``confidence`` is in 0..1; all three result
    values are None where nothing has been analysed yet. ``id`` is our own number, safe to use in addresses.
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


def studies(session: Session, *, limit: int = 500) -> tuple[StudyEntry, ...]:
    """Return studies, the newest arrivals first."""
    rows = session.scalars(select(StudyRow).order_by(StudyRow.last_instance_at.desc()).limit(limit)).all()
    return _entries(session, rows)


def worklist(session: Session, *, limit: int = 500) -> tuple[StudyEntry, ...]:
    """Return analysed studies in reading order: by priority, then confidence, then arrival."""
    analysed = select(JobRow.study_id).join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
    rows = session.scalars(select(StudyRow).where(StudyRow.id.in_(analysed))).all()
    return tuple(sorted(_entries(session, rows), key=_reading_order)[:limit])


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


def _reading_order(entry: StudyEntry) -> tuple[int, float, datetime]:
    rank = entry.priority.rank if entry.priority else len(Priority)
    return rank, -(entry.confidence or 0.0), entry.last_instance_at


def _entries(session: Session, rows: Sequence[StudyRow]) -> tuple[StudyEntry, ...]:
    ids = [row.id for row in rows]
    counts = _instance_counts(session, ids)
    jobs = _newest_jobs(session, ids)
    results = _newest_results(session, ids)
    leading = _leading_findings(session, [result.job_id for result, _ in results.values()])
    return tuple(_entry(row, counts.get(row.id, 0), jobs.get(row.id), results.get(row.id), leading) for row in rows)


def _entry(
    row: StudyRow,
    instances: int,
    job: JobRow | None,
    result: tuple[AnalysisRow, int] | None,
    leading: Mapping[int, Sequence[FindingRow]],
) -> StudyEntry:
    analysis, revision = result or (None, None)
    findings = leading.get(analysis.job_id, ()) if analysis else ()
    first = findings[0] if findings else None
    return StudyEntry(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        state=_state(row, job),
        priority=Priority(analysis.priority) if analysis else None,
        instances=instances,
        finding=_name(first) if first else None,
        volume_ml=round(sum(finding.volume_ml for finding in findings), 3) if analysis else None,
        confidence=first.confidence if first else None,
        label=first.label if first else None,
        job_id=job.id if job else None,
        result_revision=revision,
        code=job.code if job else None,
        patient_id=row.patient_id,
        accession_number=row.accession_number,
        study_date=row.study_date,
        study_description=row.study_description,
        last_instance_at=row.last_instance_at,
    )


def _name(finding: FindingRow) -> str:
    return NOTHING_FOUND if finding.presence == Presence.ABSENT.value else finding.code_meaning


def _state(row: StudyRow, job: JobRow | None) -> StudyState:
    if row.closed_at is None or job is None or job.state == JobState.SUPERSEDED.value:
        return StudyState.RECEIVING
    return StudyState(job.state)


def _instance_counts(session: Session, ids: Sequence[int]) -> dict[int, int]:
    query = (
        select(InstanceRow.study_id, func.count())
        .where(InstanceRow.study_id.in_(ids), InstanceRow.current)
        .group_by(InstanceRow.study_id)
    )
    return dict(session.execute(query).all())


def _newest_jobs(session: Session, ids: Sequence[int]) -> dict[int, JobRow]:
    rows = session.scalars(select(JobRow).where(JobRow.study_id.in_(ids)).order_by(JobRow.revision))
    return {row.study_id: row for row in rows}


def _newest_results(session: Session, ids: Sequence[int]) -> dict[int, tuple[AnalysisRow, int]]:
    query = (
        select(JobRow.study_id, AnalysisRow, JobRow.revision)
        .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(JobRow.study_id.in_(ids))
        .order_by(JobRow.revision)
    )
    return {study_id: (analysis, revision) for study_id, analysis, revision in session.execute(query)}


def _leading_findings(session: Session, job_ids: Sequence[int]) -> dict[int, list[FindingRow]]:
    query = (
        select(FindingRow)
        .where(FindingRow.job_id.in_(job_ids))
        .order_by(FindingRow.job_id, FindingRow.confidence.desc(), FindingRow.number)
    )
    grouped: dict[int, list[FindingRow]] = {}
    for row in session.scalars(query):
        grouped.setdefault(row.job_id, []).append(row)
    return grouped
