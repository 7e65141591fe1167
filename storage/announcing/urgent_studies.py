"""Studies that a result made STAT or HIGH, and what becomes of each: announced, opened by a person, ended.

A study is urgent from the result that gave it the priority until a later one takes that away or gives another. A
result of the same priority goes on with it; after somebody opened the study, only as long as no new images came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit, study_locks
from storage.announcing import escalations
from storage.announcing.tables import OpenedThrough, UrgentStudyRow
from storage.domain import Priority
from storage.models import AnalysisRow, InstanceRow, JobRow, StandingRow, StudyRow

URGENT = (Priority.STAT, Priority.HIGH)
"""The priorities for which somebody is to open the study; what is less urgent waits on the worklist alone."""

Details = Mapping[str, audit.Detail]


@dataclass(frozen=True, slots=True)
class _Leading:
    """The result that makes a study urgent."""

    job_id: int
    revision: int
    route: str
    priority: Priority
    analysed_at: datetime


def note_result(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Compare what a study's results say now with what stands, and begin, go on or end.

    Called behind ``standing.refresh`` wherever a result was written, replaced or withdrawn, with the study taken.
    """
    leading, former = _leading(session, study_id), _current(session, study_id)
    if former is not None:
        if leading is not None and _goes_on(former, leading):
            return
        _end(session, former, actor=actor, now=now)
    if leading is not None:
        _begin(session, study_id, leading, former, actor=actor, now=now)


def announced(session: Session, study_id: int, *, channel: str, priority: Priority, now: datetime) -> None:
    """Note that a channel took the study's priority; only the first channel counts.

    Nothing changes where the study has another priority by now. The event is that of the announcement.
    """
    study_locks.take(session, study_id)
    row = _current(session, study_id)
    if row is not None and row.priority == priority.value and row.announced_at is None:
        row.announced_at, row.announced_by = now, channel


def unopened(session: Session, study_id: int) -> int | None:
    """Return the number of what nobody has opened yet of a study, None where it is not urgent or was opened."""
    query = select(UrgentStudyRow.id).where(
        UrgentStudyRow.study_id == study_id, UrgentStudyRow.ended_at.is_(None), UrgentStudyRow.opened_at.is_(None)
    )
    return session.scalar(query)


def opened(
    session: Session,
    study_id: int,
    *,
    by: str,
    through: OpenedThrough,
    now: datetime,
    seen: int | None = None,
) -> bool:
    """Record that a person opened an urgent study; return whether they were the first, else nothing changes.

    ``seen`` is what ``unopened`` gave before the person was shown anything: what came since was not seen.
    """
    if unopened(session, study_id) is None:  # the study need not be taken for the many times that nothing changes
        return False
    study_locks.take(session, study_id)
    row = _current(session, study_id)
    if row is None or row.opened_at is not None or (seen is not None and row.id != seen):
        return False
    row.opened_at, row.opened_by, row.opened_through = now, by, through.value
    escalations.schedule(session, row)
    waited = round((now - row.waiting_since).total_seconds(), 3)
    details = {"through": through.value, "escalations": row.escalations, "waited_seconds": waited}
    _record(session, row, "study:seen", actor=by, now=now, details=details)
    return True


def _goes_on(former: UrgentStudyRow, leading: _Leading) -> bool:
    is_new = former.opened_at is not None and leading.revision > former.revision
    return former.priority == leading.priority.value and not is_new


def _end(session: Session, row: UrgentStudyRow, *, actor: str, now: datetime) -> None:
    row.ended_at = now
    escalations.schedule(session, row)
    details = {"seen": row.opened_at is not None}
    _record(session, row, "study:urgency-ended", actor=actor, now=now, details=details)


def _begin(
    session: Session,
    study_id: int,
    leading: _Leading,
    former: UrgentStudyRow | None,
    *,
    actor: str,
    now: datetime,
) -> None:
    """Put it on record that a result made the study urgent, with what is carried over from the one before."""
    row = _row_of(session, study_id, leading)
    if row is None:
        row = _new_row(session, study_id, leading, now=now)
        session.add(row)
    row.ended_at = None
    if former is not None:
        _carry_over(row, former, leading)
    session.flush()
    escalations.schedule(session, row)
    details = {"waits": row.opened_at is None}
    _record(session, row, "study:made-urgent", actor=actor, now=now, details=details)


def _carry_over(row: UrgentStudyRow, former: UrgentStudyRow, leading: _Leading) -> None:
    """Take over from the row that ends what still holds.

    Nobody waits anew for a study that was not opened; whoever opened it saw more than what is left of it, but neither
    a higher priority nor new images; what channels were told of the same priority they know.
    """
    if former.opened_at is None:
        row.waiting_since = min(row.waiting_since, former.waiting_since)
    elif row.opened_at is None and _holds_less(former, leading):
        row.opened_at, row.opened_by, row.opened_through = former.opened_at, former.opened_by, former.opened_through
    if former.priority == row.priority and row.announced_at is None:
        row.announced_at, row.announced_by = former.announced_at, former.announced_by


def _holds_less(former: UrgentStudyRow, leading: _Leading) -> bool:
    return leading.priority.rank > Priority(former.priority).rank and leading.revision <= former.revision


def _row_of(session: Session, study_id: int, leading: _Leading) -> UrgentStudyRow | None:
    """Return the row of a result that led before, until one that is withdrawn now took its place."""
    query = select(UrgentStudyRow).where(
        UrgentStudyRow.study_id == study_id,
        UrgentStudyRow.job_id == leading.job_id,
        UrgentStudyRow.analysed_at == leading.analysed_at,
    )
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _new_row(session: Session, study_id: int, leading: _Leading, *, now: datetime) -> UrgentStudyRow:
    return UrgentStudyRow(
        study_id=study_id,
        job_id=leading.job_id,
        revision=leading.revision,
        route=leading.route,
        priority=leading.priority.value,
        arrived_at=_arrived_at(session, study_id, leading.revision),
        analysed_at=leading.analysed_at,
        waiting_since=now,
        escalations=0,
    )


def _current(session: Session, study_id: int) -> UrgentStudyRow | None:
    query = select(UrgentStudyRow).where(UrgentStudyRow.study_id == study_id, UrgentStudyRow.ended_at.is_(None))
    return session.scalars(query.execution_options(populate_existing=True)).one_or_none()


def _leading(session: Session, study_id: int) -> _Leading | None:
    """Return the result that leads the study's list entry, None where the study is not urgent."""
    query = (
        select(StandingRow.rank, JobRow.id, JobRow.revision, JobRow.route, AnalysisRow.analysed_at)
        .join(JobRow, JobRow.id == StandingRow.leading_job_id)
        .join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
        .where(StandingRow.study_id == study_id)
    )
    found = session.execute(query).one_or_none()
    if found is None or found.rank >= len(URGENT):
        return None
    return _Leading(found.id, found.revision, found.route, URGENT[found.rank], found.analysed_at)


def _arrived_at(session: Session, study_id: int, revision: int) -> datetime:
    """Return when the last image of a revision came; a later one may have begun meanwhile."""
    study = session.get_one(StudyRow, study_id)
    if study.revision == revision:
        return study.last_instance_at
    query = select(func.max(InstanceRow.received_at))
    query = query.where(InstanceRow.study_id == study_id, InstanceRow.revision <= revision)
    return session.scalar(query) or study.last_instance_at


def _record(session: Session, row: UrgentStudyRow, tag: str, *, actor: str, now: datetime, details: Details) -> None:
    study = audit.study_of(session, row.study_id)
    context = {
        "job": row.job_id,
        "revision": row.revision,
        "route": row.route,
        "priority": row.priority,
        **details,
    }
    audit.record(session, tag, f"study/{study.uid}", actor=actor, now=now, details=context, study=study)
