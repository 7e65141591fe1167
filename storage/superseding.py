"""Results that a later one replaces: nothing of them is sent any more, and who has got them can be told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, calling_off
from storage.delivery_tables import DeliveryRow
from storage.holdings import noting
from storage.models import JobRow
from storage.result_tables import AnalysisRow, RejectionRow, ReportRow, ResultObjectRow
from storage.states import DeliveryState, RejectionState, ReportState


def supersede_results(
    session: Session, study_id: int, route: str, *, by: int | None, actor: str, now: datetime
) -> tuple[int, ...]:
    """Mark the valid results of a route of a study as superseded by a job's, or by none; return their jobs.

    Reports that are not written yet never will be, deliveries that have not begun are called off, and a rejection note
    is put on the list for whoever has got the objects.
    """
    rows = [row for row in _valid(session, study_id, route) if row.job_id != by]
    for row in rows:
        row.superseded_at, row.superseded_by = now, by
        noting.note_changed(session, study_id)
        report = _call_off(session, row, now=now)
        if report.state == ReportState.WRITTEN.value or _went_out(session, row.job_id):
            _open_rejection(session, row.job_id, now=now)
        _record(session, row, study_id, route, actor=actor, now=now)
    return tuple(row.job_id for row in rows)


def supersede_all(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Mark every valid result of a study as superseded by none: the study turned out to be another patient's."""
    for route in session.scalars(select(JobRow.route).where(JobRow.study_id == study_id).distinct()).all():
        supersede_results(session, study_id, route, by=None, actor=actor, now=now)


def hold_back(session: Session, study_id: int, route: str, *, now: datetime) -> None:
    """Send no more of the valid results of a route: its images changed, and a job for the new ones has been opened.

    They stay valid until that job has a result, for what it will find is not known yet.
    """
    for row in _valid(session, study_id, route):
        _call_off(session, row, now=now)


def predecessors_of(session: Session, job_id: int) -> tuple[int, ...]:
    """Return the earlier jobs of a job's study and route whose results do not hold any more, the newest first."""
    job = session.get_one(JobRow, job_id)
    query = (
        select(AnalysisRow.job_id)
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .where(
            JobRow.study_id == job.study_id,
            JobRow.route == job.route,
            JobRow.id < job_id,
            AnalysisRow.superseded_at.is_not(None),
        )
        .order_by(AnalysisRow.job_id.desc())
    )
    return tuple(session.scalars(query))


def _call_off(session: Session, row: AnalysisRow, *, now: datetime) -> ReportRow:
    """See to it that nothing more of a result is written or sent, and return its report."""
    report = session.get_one(ReportRow, row.job_id)
    if report.state == ReportState.PENDING.value:
        report.state = ReportState.SUPERSEDED.value
    calling_off.call_off(session, row.job_id, now=now)
    return report


def _went_out(session: Session, job_id: int) -> bool:
    """Whether somebody has got an object, or may be getting it: also of a report that was to be written anew."""
    query = (
        select(DeliveryRow.id)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .where(
            ResultObjectRow.job_id == job_id,
            DeliveryRow.state.in_((DeliveryState.SENT.value, DeliveryState.SENDING.value)),
        )
    )
    return session.scalar(query.limit(1)) is not None


def _valid(session: Session, study_id: int, route: str) -> Sequence[AnalysisRow]:
    query = (
        select(AnalysisRow)
        .join(JobRow, JobRow.id == AnalysisRow.job_id)
        .where(JobRow.study_id == study_id, JobRow.route == route, AnalysisRow.superseded_at.is_(None))
        .order_by(AnalysisRow.job_id)
    )
    return session.scalars(query).all()


def _open_rejection(session: Session, job_id: int, *, now: datetime) -> None:
    session.merge(
        RejectionRow(
            job_id=job_id,
            state=RejectionState.PENDING.value,
            attempts=0,
            next_attempt_at=now,
            code=None,
            reason=None,
        )
    )


def _record(session: Session, row: AnalysisRow, study_id: int, route: str, *, actor: str, now: datetime) -> None:
    study = audit.study_of(session, study_id)
    audit.record(
        session,
        "result:superseded",
        f"job/{row.job_id}",
        actor=actor,
        now=now,
        details={"study": study.uid, "route": route, "by": row.superseded_by},
        study=study,
    )
