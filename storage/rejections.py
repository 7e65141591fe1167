"""The outbox of rejection notes: which superseded results somebody has got, and may have to be told to set aside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, deliveries, outbox, reports, study_locks, written_objects
from storage.delivery_tables import DeliveryRow
from storage.domain import ObjectKind
from storage.reports import AddressedObject
from storage.result_tables import AnalysisRow, RejectionRow, ResultObjectRow
from storage.states import DeliveryState, RejectionState
from storage.written_objects import WrittenObject

_ACTOR = "delivery"


@dataclass(frozen=True, slots=True)
class PendingRejection:
    """A superseded result whose receivers are to be told; ``superseded_at`` is the time that the note carries."""

    job_id: int
    superseded_at: datetime
    attempts: int


def due(session: Session, *, now: datetime, limit: int = 20) -> tuple[PendingRejection, ...]:
    """Return the notes that are to be written now, oldest first."""
    query = (
        select(RejectionRow.job_id, AnalysisRow.superseded_at, RejectionRow.attempts)
        .join(AnalysisRow, AnalysisRow.job_id == RejectionRow.job_id)
        .where(RejectionRow.state == RejectionState.PENDING.value, RejectionRow.next_attempt_at <= now)
        .order_by(RejectionRow.next_attempt_at, RejectionRow.job_id)
        .limit(limit)
    )
    return tuple(PendingRejection(job_id, at or now, attempts) for job_id, at, attempts in session.execute(query))


def receivers(session: Session, job_id: int, wanting: Collection[str]) -> tuple[str, ...]:
    """Return those of the destinations that want such notes and have got an object of a job, or may be getting it."""
    return tuple(sorted(got(session, job_id, wanting)))


def got(session: Session, job_id: int, wanting: Collection[str]) -> Mapping[str, tuple[WrittenObject, ...]]:
    """Return the objects of a job that each of some destinations has got, or may be getting: what a note names there.

    Notes themselves are left out, and so is who has got nothing.
    """
    query = (
        select(DeliveryRow.destination, ResultObjectRow)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .where(
            ResultObjectRow.job_id == job_id,
            ResultObjectRow.kind != ObjectKind.REJECTION.value,
            DeliveryRow.state.in_((DeliveryState.SENT.value, DeliveryState.SENDING.value)),
            DeliveryRow.destination.in_(wanting),
        )
        .order_by(ResultObjectRow.id)
    )
    found: dict[str, tuple[WrittenObject, ...]] = {}
    for destination, row in session.execute(query):
        found[destination] = (*found.get(destination, ()), written_objects.written_object(row))
    return found


def written(
    session: Session, job_id: int, note: WrittenObject, *, destinations: Collection[str], now: datetime
) -> None:
    """Record a note and put it on its way; a second time changes nothing."""
    written_to(session, job_id, [AddressedObject(note, tuple(sorted(destinations)))], now=now)


def written_to(session: Session, job_id: int, notes: Sequence[AddressedObject], *, now: datetime) -> None:
    """Record the notes on a job, one for each set of objects that somebody has got, and put them on their way."""
    study_locks.take_of_job(session, job_id)
    row = session.get_one(RejectionRow, job_id, populate_existing=True)
    if row.state != RejectionState.PENDING.value:
        return
    row.state, row.code, row.reason = RejectionState.WRITTEN.value, None, None
    for note in notes:
        item = reports.object_row(session, job_id, note.item, now=now)
        deliveries.open_deliveries(session, item, note.destinations, now=now)


def needless(session: Session, job_id: int, *, now: datetime) -> None:
    """Record that nobody is to be told: no destination that wants such notes has got anything."""
    study_locks.take_of_job(session, job_id)
    row = session.get_one(RejectionRow, job_id, populate_existing=True)
    if row.state != RejectionState.PENDING.value:
        return
    row.state = RejectionState.NEEDLESS.value
    study = audit.study_of_job(session, job_id)
    audit.record(session, "rejection:needless", f"job/{job_id}", actor=_ACTOR, now=now, study=study)


def failed(session: Session, job_id: int, *, code: str, reason: str, retryable: bool, now: datetime) -> RejectionState:
    """Record that a note could not be written; tried again later where that can help.

    Returns the state of one that is not to be written any more, where another gateway was faster.
    """
    study_locks.take_of_job(session, job_id)
    row = session.get_one(RejectionRow, job_id, populate_existing=True)
    if row.state != RejectionState.PENDING.value:
        return RejectionState(row.state)
    if not outbox.postpone(row, code=code, reason=reason, retryable=retryable, now=now):
        row.state = RejectionState.FAILED.value
    audit.record(
        session,
        "rejection:failed" if row.state == RejectionState.FAILED.value else "rejection:postponed",
        f"job/{job_id}",
        actor=_ACTOR,
        now=now,
        details={"code": code, "attempt": row.attempts},
        study=audit.study_of_job(session, job_id),
    )
    return RejectionState(row.state)
