"""Deliveries: each written object on its way to each destination, with its own state, retries and reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from storage import audit, changes, deletions, delivery_proofs, leases, study_locks
from storage.backoff import Backoff, Draw, no_jitter
from storage.delivery_tables import DeliveryRow
from storage.domain import Priority
from storage.errors import IllegalTransition, RecordMissing
from storage.models import StandingRow
from storage.result_tables import AnalysisRow, ResultObjectRow
from storage.states import DeliveryState

ALLOWED: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.SUPERSEDED, DeliveryState.CALLED_OFF}),
    DeliveryState.SENDING: frozenset({DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.PENDING}),
    DeliveryState.REFUSED: frozenset({DeliveryState.PENDING, DeliveryState.CALLED_OFF}),
    DeliveryState.SENT: frozenset({DeliveryState.PENDING}),
    DeliveryState.SUPERSEDED: frozenset(),
    DeliveryState.CALLED_OFF: frozenset({DeliveryState.PENDING}),
}

BACKOFF = Backoff(first_seconds=5.0, longest_seconds=15 * 60.0)


def open_deliveries(session: Session, item: ResultObjectRow, destinations: Sequence[str], *, now: datetime) -> None:
    """Add one pending delivery of an object for each destination that has none yet; the caller has taken the study.

    One with a flaw goes nowhere. ResultsDeleted where retention deleted it.
    """
    if item.flaw is not None:
        return
    deletions.require_object(session, item)
    known = set(session.scalars(select(DeliveryRow.destination).where(DeliveryRow.object_id == item.id)))
    rank = _rank(session, item)
    rows = [
        DeliveryRow(
            object_id=item.id,
            destination=destination,
            rank=rank,
            state=DeliveryState.PENDING.value,
            attempts=0,
            next_attempt_at=now,
        )
        for destination in dict.fromkeys(destinations)
        if destination not in known
    ]
    if not rows:
        return
    session.add_all(rows)
    session.flush()
    changes.announce(session)
    study = audit.study_of(session, item.study_id)
    audit.record_all(session, [_event(row, item, study, "delivery:opened", now=now) for row in rows])
    _hurry(session, item.study_id, rank)


def open_or_repeat(session: Session, item: ResultObjectRow, destination: str, *, actor: str, now: datetime) -> None:
    """Open the delivery of an object to a destination, or send it once more unless it is under way."""
    query = select(DeliveryRow).where(DeliveryRow.object_id == item.id, DeliveryRow.destination == destination)
    row = session.scalars(query).one_or_none()
    if row is None:
        open_deliveries(session, item, [destination], now=now)
    elif DeliveryState(row.state) in (DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.CALLED_OFF):
        retry(session, row.id, actor=actor, now=now)


def sent(
    session: Session, delivery_id: int, *, owner: str, status: int, now: datetime, note: str | None = None
) -> None:
    """Record that the peer accepted the object with a success or warning status; ``note`` is what it remarked."""
    held = _held(session, delivery_id, owner)
    if held is None:
        return
    row, study = held
    step(row, DeliveryState.SENT)
    row.status, row.code, row.reason, row.sent_at = status, None, note, now
    record(session, row, study, "delivery:sent", now=now)
    delivery_proofs.open_proof(session, row, study, now=now)


def refused(
    session: Session, delivery_id: int, *, owner: str, status: int | None, code: str, reason: str, now: datetime
) -> None:
    """Record that the peer will not take the object however often it is sent; a person must look."""
    held = _held(session, delivery_id, owner)
    if held is None:
        return
    row, study = held
    step(row, DeliveryState.REFUSED)
    row.status, row.code, row.reason = status, code, reason
    record(session, row, study, "delivery:refused", now=now)


def postponed(
    session: Session,
    delivery_id: int,
    *,
    owner: str,
    status: int | None,
    code: str,
    reason: str,
    now: datetime,
    draw: Draw | None = no_jitter,
) -> None:
    """Record that this attempt failed but a later one may not; the delay doubles up to a quarter of an hour.

    ``draw`` shortens it at random. With None there is no delay: it is the destination that is waited for.
    """
    held = _held(session, delivery_id, owner)
    if held is None:
        return
    row, study = held
    step(row, DeliveryState.PENDING)
    row.status, row.code, row.reason = status, code, reason
    row.next_attempt_at = now if draw is None else now + BACKOFF.pause(row.attempts, draw=draw)
    record(session, row, study, "delivery:postponed", now=now)


def retry(session: Session, delivery_id: int, *, actor: str, now: datetime) -> None:
    """Send a refused or already sent object once more; ResultsDeleted where retention deleted it."""
    study = study_locks.take_of_delivery(session, delivery_id)
    row = session.get(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    if row is None or study is None:
        raise RecordMissing(f"there is no delivery {delivery_id}; see `oncue deliveries list`")
    deletions.require_object(session, session.get_one(ResultObjectRow, row.object_id, populate_existing=True))
    step(row, DeliveryState.PENDING)
    row.next_attempt_at = now
    changes.announce(session)
    record(session, row, audit.concerned(study), "delivery:retried", now=now, actor=actor)


def _rank(session: Session, item: ResultObjectRow) -> int:
    """Return the rank that an object is sent with: of its analysis, or of its study where that is more urgent."""
    found = [len(Priority)]
    if item.job_id is not None:
        priority = session.scalar(select(AnalysisRow.priority).where(AnalysisRow.job_id == item.job_id))
        found += [Priority(priority).rank] if priority is not None else []
    standing = session.scalar(select(StandingRow.rank).where(StandingRow.study_id == item.study_id))
    return min(*found, len(Priority) if standing is None else standing)


def _hurry(session: Session, study_id: int, rank: int) -> None:
    """Give what still waits of a study the rank of what was just put on its way, where that is more urgent."""
    objects = select(ResultObjectRow.id).where(ResultObjectRow.study_id == study_id)
    waits = DeliveryRow.object_id.in_(objects) & (DeliveryRow.state == DeliveryState.PENDING.value)
    update_where(session, waits & (DeliveryRow.rank > rank), {"rank": rank})


def _held(session: Session, delivery_id: int, owner: str) -> tuple[DeliveryRow, audit.ConcernedStudy] | None:
    """Return the row where ``owner`` still holds it; a gateway whose lease ran out says nothing any more."""
    study = study_locks.take_of_delivery(session, delivery_id)
    row = session.get_one(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    if study is None or row.state != DeliveryState.SENDING.value or row.lease_owner != owner:
        return None
    return row, audit.concerned(study)


def step(row: DeliveryRow, state: DeliveryState) -> None:
    """Put a delivery into another state and end its lease; IllegalTransition where the table has no such step."""
    if state not in ALLOWED[DeliveryState(row.state)]:
        raise IllegalTransition(f"delivery {row.id} cannot go from {row.state} to {state}")
    row.state = state.value
    leases.end(row)


def record(
    session: Session,
    row: DeliveryRow,
    study: audit.ConcernedStudy | None,
    tag: str,
    *,
    now: datetime,
    actor: str = "delivery",
) -> None:
    """Write the event of a delivery's new state."""
    item = session.get_one(ResultObjectRow, row.object_id)
    audit.record_all(session, [_event(row, item, study, tag, now=now, actor=actor)])


def _event(
    row: DeliveryRow,
    item: ResultObjectRow,
    study: audit.ConcernedStudy | None,
    tag: str,
    *,
    now: datetime,
    actor: str = "delivery",
) -> audit.AuditEvent:
    return audit.event(
        tag,
        f"instance/{item.sop_instance_uid}",
        actor=actor,
        now=now,
        details={
            "delivery": row.id,
            "series": item.series_instance_uid,
            "destination": row.destination,
            "attempt": row.attempts,
            "status": None if row.status is None else f"0x{row.status:04X}",
            "code": row.code,
        },
        study=study,
    )


def update_where(session: Session, condition: ColumnElement[bool], values: Mapping[str, object]) -> None:
    """Change rows of deliveries behind the session's back, many at once."""
    query = update(DeliveryRow).where(condition).values(**values)
    session.execute(query.execution_options(synchronize_session=False))
