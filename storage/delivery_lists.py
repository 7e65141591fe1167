"""Deliveries as they stand, for whoever lists, counts or shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from storage.cursors import number_place
from storage.delivery_tables import DeliveryProofRow, DeliveryRow
from storage.models import StudyRow
from storage.result_tables import ResultObjectRow
from storage.states import DeliveryState, ProofState
from storage.written_objects import WrittenObject, written_object


@dataclass(frozen=True, slots=True)
class DeliveryProof:
    """Whether the destination shows that it keeps the object; ``resent`` is how often it was sent anew over that."""

    state: ProofState
    resent: int
    committed_at: datetime | None
    code: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object on its way to one destination, as it stands. ``status`` is the DIMSE status of the last attempt.

    ``job_id`` is None where the object is the notice of a study that was not analysed. ``rank`` is that of its study's
    priority: the lowest goes first. ``reason`` of one that was sent is what the peer remarked. ``proof`` is None where
    the destination is not to show anything.
    """

    id: int
    job_id: int | None
    study_instance_uid: str
    written: WrittenObject
    destination: str
    rank: int
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    status: int | None
    code: str | None
    reason: str | None
    sent_at: datetime | None
    proof: DeliveryProof | None

    @property
    def cursor(self) -> str:
        """The place behind it in lists of the newest first."""
        return str(self.id)


def count_open(session: Session, destination: str) -> int:
    """Return how many deliveries to a destination wait or are under way."""
    states = (DeliveryState.PENDING.value, DeliveryState.SENDING.value)
    query = select(func.count()).where(DeliveryRow.destination == destination, DeliveryRow.state.in_(states))
    return session.scalar(query) or 0


def count_by_state(session: Session, destination: str) -> Mapping[DeliveryState, int]:
    """Return how many deliveries to a destination there are in each state."""
    query = select(DeliveryRow.state, func.count()).where(DeliveryRow.destination == destination)
    return {DeliveryState(row[0]): row[1] for row in session.execute(query.group_by(DeliveryRow.state))}


def count_proofs(session: Session, destination: str) -> Mapping[ProofState, int]:
    """Return how many proofs of deliveries to a destination there are in each state."""
    query = select(DeliveryProofRow.state, func.count()).where(DeliveryProofRow.destination == destination)
    return {ProofState(row[0]): row[1] for row in session.execute(query.group_by(DeliveryProofRow.state))}


def count_by_destination(session: Session, job_id: int) -> Mapping[str, int]:
    """Return how many deliveries of a job's objects there are for each destination, in whatever state."""
    query = (
        select(DeliveryRow.destination, func.count())
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .where(ResultObjectRow.job_id == job_id)
        .group_by(DeliveryRow.destination)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def listed(
    session: Session, *, state: DeliveryState | None = None, limit: int = 500, after: str | None = None
) -> tuple[Delivery, ...]:
    """Return deliveries, newest first; ``after`` is the number of the one behind which the list goes on."""
    query = _query().order_by(DeliveryRow.id.desc()).limit(limit)
    if state is not None:
        query = query.where(DeliveryRow.state == state.value)
    if after is not None:
        query = query.where(DeliveryRow.id < number_place(after))
    return tuple(_delivery(row, item, uid, proof) for row, item, uid, proof in session.execute(query))


def count(session: Session, *, state: DeliveryState | None = None, cap: int) -> int:
    """Return how many deliveries there are, counted to ``cap`` at most."""
    query = select(DeliveryRow.id).limit(cap)
    if state is not None:
        query = query.where(DeliveryRow.state == state.value)
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def chosen(session: Session, ids: Sequence[int]) -> tuple[Delivery, ...]:
    """Return the deliveries with these numbers, in order of their numbers."""
    query = _query().where(DeliveryRow.id.in_(ids)).order_by(DeliveryRow.id)
    return tuple(_delivery(row, item, uid, proof) for row, item, uid, proof in session.execute(query))


def of_instance(session: Session, sop_instance_uid: str) -> tuple[Delivery, ...]:
    """Return the deliveries of one object, to all its destinations."""
    query = select(DeliveryRow.id).join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
    return chosen(session, session.scalars(query.where(ResultObjectRow.sop_instance_uid == sop_instance_uid)).all())


def _query() -> Select[DeliveryRow, ResultObjectRow, str, DeliveryProofRow]:
    return (
        select(DeliveryRow, ResultObjectRow, StudyRow.study_instance_uid, DeliveryProofRow)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .join(StudyRow, StudyRow.id == ResultObjectRow.study_id)
        .outerjoin(DeliveryProofRow, DeliveryProofRow.delivery_id == DeliveryRow.id)
        .execution_options(populate_existing=True)  # batches are claimed and given back behind the session's back
    )


def _delivery(row: DeliveryRow, item: ResultObjectRow, uid: str, proof: DeliveryProofRow | None) -> Delivery:
    return Delivery(
        id=row.id,
        job_id=item.job_id,
        study_instance_uid=uid,
        written=written_object(item),
        destination=row.destination,
        rank=row.rank,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        status=row.status,
        code=row.code,
        reason=row.reason,
        sent_at=row.sent_at,
        proof=None if proof is None else _proof(proof),
    )


def _proof(row: DeliveryProofRow) -> DeliveryProof:
    return DeliveryProof(ProofState(row.state), row.resent, row.committed_at, row.code, row.reason)
