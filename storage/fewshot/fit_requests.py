"""Requests to fit or to evaluate an adapter, made over the API and carried out by a worker.

The committed row is the outbox: the relay publishes rows whose ``published_at`` is None. A worker claims a row by
compare-and-set under a lease; the fencing token makes a late writer fail instead of overwriting its successor. Table
and audit events call a request an order: those words are on record and do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from storage import audit, leases
from storage.errors import IllegalTransition, LeaseLost, RecordMissing, WorkerLost
from storage.fewshot.tables import ClassificationOrderRow, ClassificationTaskRow
from storage.fewshot.tasks import Task

LEASE_SECONDS = 3600
"""Nothing extends it: longer than a supervisor lets a request run before it replaces the worker and releases it."""
MAX_ATTEMPTS = 3


class RequestKind(StrEnum):
    """What is to be done."""

    FIT = "fit"
    EVALUATE = "evaluate"


class RequestState(StrEnum):
    """How far a request is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


ALLOWED: Mapping[RequestState, frozenset[RequestState]] = {
    RequestState.WAITING: frozenset({RequestState.RUNNING}),
    RequestState.RUNNING: frozenset({RequestState.DONE, RequestState.FAILED, RequestState.WAITING}),
    RequestState.DONE: frozenset(),
    RequestState.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for: an adapter's evaluation, or a fit with this head (None: as before) and seed."""

    kind: RequestKind
    adapter_id: int | None = None
    head: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class FitRequest:
    """One request; when it is done, ``wish.adapter_id`` is the adapter that was fitted or evaluated."""

    id: int
    task: str
    wish: Wish
    state: RequestState
    attempts: int
    code: str | None
    reason: str | None
    requested_by: str
    requested_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class HeldRequest:
    """A worker's hold on a request: good until the lease runs out or the token moves on."""

    request: FitRequest
    token: int
    owner: str


def place(session: Session, task: Task, wish: Wish, *, actor: str, now: datetime) -> FitRequest:
    """Put a request on record, ready to be published."""
    row = ClassificationOrderRow(
        kind=wish.kind.value,
        state=RequestState.WAITING.value,
        task_id=task.id,
        adapter_id=wish.adapter_id,
        head=wish.head,
        seed=wish.seed,
        attempts=0,
        token=0,
        ordered_by=actor,
        ordered_at=now,
    )
    session.add(row)
    session.flush()
    _record(session, "order:placed", row, actor=actor, now=now)
    return _request(session, row)


def publishable(session: Session, *, limit: int = 100) -> tuple[int, ...]:
    """Return the waiting requests that are not published yet, oldest first."""
    query = (
        select(ClassificationOrderRow.id)
        .where(
            ClassificationOrderRow.state == RequestState.WAITING.value, ClassificationOrderRow.published_at.is_(None)
        )
        .order_by(ClassificationOrderRow.id)
        .limit(limit)
    )
    return tuple(session.scalars(query))


def published(session: Session, request_id: int, *, now: datetime) -> bool:
    """Record that a message for this request is handed to the broker; False where another relay was faster."""
    row = session.get(ClassificationOrderRow, request_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != RequestState.WAITING.value or row.published_at is not None:
        return False
    row.published_at = now
    _record(session, "order:published", row, actor="relay", now=now)
    return True


def has_messages(session: Session) -> bool:
    """Say whether any request is published and not yet claimed."""
    waiting = ClassificationOrderRow.state == RequestState.WAITING.value
    query = select(ClassificationOrderRow.id).where(waiting, ClassificationOrderRow.published_at.is_not(None)).limit(1)
    return session.scalar(query) is not None


def republish_lost(session: Session, *, older_than: timedelta, now: datetime) -> int:
    """Mark published but unclaimed requests for publishing again, because the broker's queue is empty."""
    is_waiting = ClassificationOrderRow.state == RequestState.WAITING.value
    rows = _taken(session, is_waiting, ClassificationOrderRow.published_at < now - older_than)
    for row in rows:
        row.published_at = None
        _record(session, "order:message-lost", row, actor="relay", now=now)
    return len(rows)


def claim(session: Session, request_id: int, *, owner: str, now: datetime) -> HeldRequest | None:
    """Take a waiting request under a lease; None where it is taken, finished or gone."""
    row = session.get(ClassificationOrderRow, request_id, with_for_update=True, populate_existing=True)
    if row is None or row.state != RequestState.WAITING.value:
        return None
    _step(row, RequestState.RUNNING)
    row.attempts += 1
    row.token += 1
    leases.take(row, owner, seconds=LEASE_SECONDS, now=now)
    _record(session, "order:claimed", row, actor=owner, now=now)
    return HeldRequest(_request(session, row), row.token, owner)


def done(session: Session, held: HeldRequest, adapter_id: int, *, now: datetime) -> None:
    """Finish a request with the adapter that it made or judged; LeaseLost for a late writer."""
    row = _held_row(session, held)
    _finish(row, RequestState.DONE, now=now)
    row.adapter_id = adapter_id
    _record(session, "order:done", row, actor=held.owner, now=now)


def fail(
    session: Session, held: HeldRequest, *, code: str, reason: str, retryable: bool = False, now: datetime
) -> RequestState:
    """End an attempt; return whether the request waits again or has failed. LeaseLost for a late writer.

    A ``retryable`` failure is tried again until ``MAX_ATTEMPTS`` are used up.
    """
    row = _held_row(session, held)
    row.code, row.reason = code, reason
    if retryable and row.attempts < MAX_ATTEMPTS:
        _step(row, RequestState.WAITING)
        leases.end(row)
        row.published_at = None
        _record(session, "order:requeued", row, actor=held.owner, now=now)
        return RequestState.WAITING
    _finish(row, RequestState.FAILED, now=now)
    _record(session, "order:failed", row, actor=held.owner, now=now)
    return RequestState.FAILED


def reclaim_expired(session: Session, *, now: datetime) -> tuple[int, ...]:
    """Take back running requests whose lease ran out: waiting again, or failed as ``worker_lost`` at the cap."""
    is_running = ClassificationOrderRow.state == RequestState.RUNNING.value
    rows = _taken(session, is_running, leases.ran_out(ClassificationOrderRow.lease_expires_at, now=now))
    for row in rows:
        _take_back(session, row, now=now)
    return tuple(row.id for row in rows)


def release_owner(session: Session, owner: str, *, now: datetime) -> tuple[int, ...]:
    """Take back at once what a worker held that is known to be dead, without waiting for its lease."""
    is_running = ClassificationOrderRow.state == RequestState.RUNNING.value
    rows = _taken(session, is_running, ClassificationOrderRow.lease_owner == owner, skip_locked=False)
    for row in rows:
        _take_back(session, row, now=now)
    return tuple(row.id for row in rows)


def find(session: Session, request_id: int) -> FitRequest:
    """Return one request; RecordMissing where there is none."""
    row = session.get(ClassificationOrderRow, request_id)
    if row is None:
        raise RecordMissing(f"there is no order {request_id}")
    return _request(session, row)


def _taken(
    session: Session, *conditions: ColumnElement[bool], skip_locked: bool = True
) -> Sequence[ClassificationOrderRow]:
    """Lock the requests that meet the conditions, by number; those that somebody is writing now are left out."""
    query = select(ClassificationOrderRow).where(*conditions).order_by(ClassificationOrderRow.id)
    query = query.with_for_update(skip_locked=skip_locked).execution_options(populate_existing=True)
    return session.scalars(query).all()


def _held_row(session: Session, held: HeldRequest) -> ClassificationOrderRow:
    row = session.get(ClassificationOrderRow, held.request.id, with_for_update=True, populate_existing=True)
    if row is None or row.state != RequestState.RUNNING.value or row.token != held.token:
        raise LeaseLost(f"order {held.request.id} was taken over; this result is discarded")
    return row


def _take_back(session: Session, row: ClassificationOrderRow, *, now: datetime) -> None:
    if row.attempts < MAX_ATTEMPTS:
        _step(row, RequestState.WAITING)
        leases.end(row)
        row.published_at = None
        _record(session, "order:lease-expired", row, actor="relay", now=now)
        return
    _finish(row, RequestState.FAILED, now=now)
    row.code = WorkerLost.code
    row.reason = f"{MAX_ATTEMPTS} workers took it and none brought it to an end"
    _record(session, "order:failed", row, actor="relay", now=now)


def _finish(row: ClassificationOrderRow, state: RequestState, *, now: datetime) -> None:
    _step(row, state)
    leases.end(row)
    row.finished_at = now


def _step(row: ClassificationOrderRow, state: RequestState) -> None:
    if state not in ALLOWED[RequestState(row.state)]:
        raise IllegalTransition(f"order {row.id} cannot go from {row.state} to {state}")
    row.state = state.value


def _record(session: Session, tag: str, row: ClassificationOrderRow, *, actor: str, now: datetime) -> None:
    details: dict[str, audit.Detail] = {"order": row.id, "kind": row.kind, "adapter": row.adapter_id, "code": row.code}
    audit.record(session, tag, f"task/{_task_name(session, row)}", actor=actor, now=now, details=details)


def _task_name(session: Session, row: ClassificationOrderRow) -> str:
    return session.get_one(ClassificationTaskRow, row.task_id).name


def _request(session: Session, row: ClassificationOrderRow) -> FitRequest:
    return FitRequest(
        id=row.id,
        task=_task_name(session, row),
        wish=Wish(RequestKind(row.kind), row.adapter_id, row.head, row.seed),
        state=RequestState(row.state),
        attempts=row.attempts,
        code=row.code,
        reason=row.reason,
        requested_by=row.ordered_by,
        requested_at=row.ordered_at,
        finished_at=row.finished_at,
    )
