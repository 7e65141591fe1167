"""Proofs of deliveries: which are due, which are asked for, and what became of each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, func, select
from sqlalchemy.orm import Session

from storage import audit, deliveries, due_deliveries, study_locks
from storage.deletion_errors import ResultsDeleted
from storage.delivery_proofs import ACTOR, record, step
from storage.delivery_tables import DeliveryProofRow, DeliveryRow
from storage.models import StudyRow
from storage.proof_ways import ProofWay
from storage.result_tables import ResultObjectRow
from storage.states import DeliveryState, ProofState

PATIENCE = tuple(timedelta(hours=hours) for hours in (0.25, 1.0, 6.0, 24.0))
"""How long the report to the first, second, ... request of an object is waited for; after the last it has failed."""
UNREACHABLE_FOR = timedelta(days=2)
"""How long a destination is tried that cannot be asked."""
MOST_RESENT = 2
_SHORTEST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=10), timedelta(minutes=15)
_LONGEST_GATHERING = timedelta(seconds=60)
_ALONG = timedelta(seconds=2)
"""What is due within so long goes along with what is due now."""
UNANSWERED = "commitment_unanswered"


@dataclass(frozen=True, slots=True)
class AskedObject:
    """One object that a destination is asked for, with its delivery."""

    delivery_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Objects that one destination is asked for at once."""

    destination: str
    transaction_uid: str
    objects: tuple[AskedObject, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a proof is not there (yet): a stable code, and what is wrong in words."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Terms:
    """How a destination is asked: which way, by which transaction, for how many objects at once."""

    way: ProofWay
    transaction_uid: str
    most: int


def destinations(session: Session) -> tuple[str, ...]:
    """Return the destinations that are to be asked, or whose answer is due, at any time."""
    query = select(DeliveryProofRow.destination).where(DeliveryProofRow.state.in_(_OPEN)).distinct()
    return tuple(sorted(session.scalars(query)))


def due_at(session: Session, destination: str, *, now: datetime) -> datetime | None:
    """Return when a destination is to be asked next, None where nothing of it waits.

    While it is being sent to, objects gather for one request, for a minute at most.
    """
    first = session.scalar(select(func.min(DeliveryProofRow.next_attempt_at)).where(*_waits(destination)))
    if first is None or first > now or now - first >= _LONGEST_GATHERING:
        return first
    is_sent_to = due_deliveries.open_batches(session, destination, now=now)
    is_due = due_deliveries.waiting(session, destination, cap=1, now=now).due
    return first + _LONGEST_GATHERING if is_sent_to or is_due else first


def claim(session: Session, destination: str, terms: Terms, *, now: datetime) -> Inquiry | None:
    """Take what a destination is to be asked for, and have its answer be due; None where nothing is."""
    query = select(DeliveryProofRow).where(*_waits(destination), DeliveryProofRow.next_attempt_at <= now + _ALONG)
    query = query.order_by(DeliveryProofRow.delivery_id).limit(terms.most).with_for_update()
    rows = session.scalars(query.execution_options(populate_existing=True)).all()
    if all(row.next_attempt_at > now for row in rows):
        return None
    for row in rows:
        step(row, ProofState.ASKED)
        row.way, row.transaction_uid, row.asked_at = terms.way.value, terms.transaction_uid, now
        row.attempts += 1
        row.next_attempt_at = now + PATIENCE[min(row.attempts, len(PATIENCE)) - 1]
    session.flush()
    way, transaction = terms.way.value, terms.transaction_uid
    _record_of_all(session, "proof:asked", destination, len(rows), now=now, way=way, transaction=transaction)
    return Inquiry(destination, terms.transaction_uid, _objects(session, [row.delivery_id for row in rows]))


def asked_for(session: Session, transaction_uid: str) -> Inquiry | None:
    """Return what a transaction asks for and is not answered yet; None where no proof knows the transaction."""
    query = select(DeliveryProofRow).where(DeliveryProofRow.transaction_uid == transaction_uid)
    rows = session.scalars(query.execution_options(populate_existing=True)).all()
    if not rows:
        return None
    ids = [row.delivery_id for row in rows if row.state == ProofState.ASKED.value]
    return Inquiry(rows[0].destination, transaction_uid, _objects(session, ids))


def committed(session: Session, ids: Collection[int], *, now: datetime) -> None:
    """Record that the destination vouches for what some deliveries brought."""
    for row, study in _asked(session, ids):
        step(row, ProofState.COMMITTED)
        row.committed_at, row.code, row.reason = now, None, None
        record(session, row, "proof:committed", study=study, now=now)


def missing(session: Session, ids: Collection[int], cause: Cause, *, now: datetime, looks: int = 1) -> None:
    """Send anew what the destination does not have, twice at most; then the proof has failed.

    It is asked ``looks`` times before that.
    """
    for row, study in _asked(session, ids):
        if row.attempts < looks:
            _ask_again(session, row, cause, study, now)
            continue
        if row.resent >= MOST_RESENT:
            _fail(session, row, cause, study, now)
            continue
        try:
            if _is_sent(session, row):  # otherwise somebody has it sent anew already
                deliveries.retry(session, row.delivery_id, actor=ACTOR, now=now)
        except ResultsDeleted as error:
            _fail(session, row, Cause(error.code, str(error)), study, now)
            continue
        step(row, ProofState.PENDING)
        row.resent += 1
        row.attempts, row.code, row.reason = 0, cause.code, cause.reason
        record(session, row, "proof:missing", study=study, now=now)


def unclear(session: Session, ids: Collection[int], cause: Cause, *, now: datetime) -> None:
    """Ask again for what was answered with neither yes nor no, as long as there is patience; then it has failed."""
    for row, study in _asked(session, ids):
        if row.attempts >= len(PATIENCE):
            _fail(session, row, cause, study, now)
            continue
        _ask_again(session, row, cause, study, now)


def failed(session: Session, ids: Collection[int], cause: Cause, *, now: datetime) -> None:
    """Record that the destination will not vouch for what some deliveries brought; a person must look."""
    for row, study in _asked(session, ids):
        _fail(session, row, cause, study, now)


def put_off(session: Session, inquiry: Inquiry, cause: Cause, *, now: datetime) -> None:
    """Ask a destination later that could not be asked, for two days after it took the object; then it has failed.

    Attempts that asked nothing do not count. The pauses grow with the time since. That it could not be asked is one
    event for all that waits; an object has its own where the cause is another than before.
    """
    _record_of_all(session, "proof:not-asked", inquiry.destination, len(inquiry.objects), now=now, code=cause.code)
    for row, study in _asked(session, [one.delivery_id for one in inquiry.objects]):
        since = now - _sent_at(session, row, now)
        if since >= UNREACHABLE_FOR:
            _fail(session, row, cause, study, now)
            continue
        step(row, ProofState.PENDING)
        is_new, row.attempts = row.code != cause.code, row.attempts - 1
        row.code, row.reason = cause.code, cause.reason
        row.next_attempt_at = now + min(max(since / 4, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        if is_new:
            record(session, row, "proof:postponed", study=study, now=now)


def end_overdue(session: Session, *, now: datetime, limit: int = 500) -> int:
    """Have what a report never came for be asked for again, or fail; return how many there were."""
    overdue = (DeliveryProofRow.state == ProofState.ASKED.value, DeliveryProofRow.next_attempt_at <= now)
    ids = session.scalars(select(DeliveryProofRow.delivery_id).where(*overdue).limit(limit)).all()
    for row, study in _asked(session, ids):
        cause = Cause(UNANSWERED, f"{row.destination} took the request and never reported; look at its own log")
        if row.attempts >= len(PATIENCE):
            _fail(session, row, cause, study, now)
            continue
        step(row, ProofState.PENDING)
        row.code, row.reason, row.next_attempt_at = cause.code, cause.reason, now
        record(session, row, "proof:postponed", study=study, now=now)
    return len(ids)


def overdue_at(session: Session) -> datetime | None:
    """Return when the next answer is overdue, None where none is waited for."""
    query = select(func.min(DeliveryProofRow.next_attempt_at))
    return session.scalar(query.where(DeliveryProofRow.state == ProofState.ASKED.value))


def withdraw(session: Session, destination: str, *, now: datetime) -> None:
    """Ask a destination for nothing any more that is still open: it is gone, or nobody wants proofs of it."""
    waits = (DeliveryProofRow.destination == destination, DeliveryProofRow.state.in_(_OPEN))
    count = session.scalar(select(func.count()).select_from(DeliveryProofRow).where(*waits)) or 0
    if not count:
        return
    session.execute(delete(DeliveryProofRow).where(*waits).execution_options(synchronize_session=False))
    _record_of_all(session, "proof:withdrawn", destination, count, now=now)


_OPEN = (ProofState.PENDING.value, ProofState.ASKED.value)


def _waits(destination: str) -> tuple[ColumnElement[bool], ...]:
    sent = select(DeliveryRow.id).where(
        DeliveryRow.id == DeliveryProofRow.delivery_id, DeliveryRow.state == DeliveryState.SENT.value
    )
    return (
        DeliveryProofRow.state == ProofState.PENDING.value,
        DeliveryProofRow.destination == destination,
        sent.exists(),
    )


def _asked(session: Session, ids: Collection[int]) -> Sequence[tuple[DeliveryProofRow, audit.ConcernedStudy]]:
    """Take the studies of some deliveries, and return the proofs that are asked for, with their studies."""
    study_locks.take_all(session, _studies(ids))
    query = select(DeliveryProofRow).where(
        DeliveryProofRow.delivery_id.in_(ids), DeliveryProofRow.state == ProofState.ASKED.value
    )
    query = query.order_by(DeliveryProofRow.delivery_id).with_for_update().execution_options(populate_existing=True)
    rows = session.scalars(query).all()
    studies = {number: audit.study_of(session, study) for number, study in session.execute(_studies_by_delivery(ids))}
    return [(row, studies[row.delivery_id]) for row in rows]


def _fail(session: Session, row: DeliveryProofRow, cause: Cause, study: audit.ConcernedStudy, now: datetime) -> None:
    step(row, ProofState.FAILED)
    row.code, row.reason = cause.code, cause.reason
    record(session, row, "proof:failed", study=study, now=now)


def _ask_again(
    session: Session, row: DeliveryProofRow, cause: Cause, study: audit.ConcernedStudy, now: datetime
) -> None:
    step(row, ProofState.PENDING)
    row.code, row.reason = cause.code, cause.reason
    row.next_attempt_at = now + _SHORTEST_PAUSE * 4 ** (row.attempts - 1)
    record(session, row, "proof:postponed", study=study, now=now)


def _record_of_all(
    session: Session, tag: str, destination: str, objects: int, *, now: datetime, **details: audit.Detail
) -> None:
    """Write one event for many objects of a destination."""
    said = {"objects": objects, **details}
    audit.record(session, tag, f"destination/{destination}", actor=ACTOR, now=now, details=said)


def _is_sent(session: Session, row: DeliveryProofRow) -> bool:
    state = session.scalar(select(DeliveryRow.state).where(DeliveryRow.id == row.delivery_id))
    return state == DeliveryState.SENT.value


def _sent_at(session: Session, row: DeliveryProofRow, now: datetime) -> datetime:
    return session.scalar(select(DeliveryRow.sent_at).where(DeliveryRow.id == row.delivery_id)) or now


def _studies(ids: Collection[int]) -> Select[int]:
    return (
        select(ResultObjectRow.study_id)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(DeliveryRow.id.in_(ids))
    )


def _studies_by_delivery(ids: Collection[int]) -> Select[int, int]:
    query = select(DeliveryRow.id, ResultObjectRow.study_id)
    return query.join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id).where(DeliveryRow.id.in_(ids))


def _objects(session: Session, ids: Sequence[int]) -> tuple[AskedObject, ...]:
    item = ResultObjectRow
    query = (
        select(
            DeliveryRow.id,
            StudyRow.study_instance_uid,
            item.series_instance_uid,
            item.sop_class_uid,
            item.sop_instance_uid,
        )
        .join(item, item.id == DeliveryRow.object_id)
        .join(StudyRow, StudyRow.id == item.study_id)
        .where(DeliveryRow.id.in_(ids))
        .order_by(DeliveryRow.id)
    )
    return tuple(AskedObject(*one) for one in session.execute(query))
