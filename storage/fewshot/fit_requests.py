"""Orders: fitting and evaluating that somebody asked for over the API, and that a worker does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from storage import audit
from storage.errors import LeaseLost, RecordMissing
from storage.fewshot.tables import ClassificationOrderRow, ClassificationTaskRow
from storage.fewshot.tasks import Task

LEASE_SECONDS = 600
MAX_ATTEMPTS = 3
_LOST = "worker_lost"


class OrderKind(StrEnum):
    """What is to be done."""

    FIT = "fit"
    EVALUATE = "evaluate"


class OrderState(StrEnum):
    """How far it is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is ordered: an adapter's evaluation, or a fit with this head (None: as before) and seed."""

    kind: OrderKind
    adapter_id: int | None = None
    head: str | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Order:
    """One order; when it is done, ``wish.adapter_id`` is the adapter that was fitted or evaluated."""

    id: int
    task: str
    wish: Wish
    state: OrderState
    attempts: int
    code: str | None
    reason: str | None
    ordered_by: str
    ordered_at: datetime
    finished_at: datetime | None


def place(session: Session, task: Task, wish: Wish, *, actor: str, now: datetime) -> Order:
    """Put an order on record; a worker finds it there."""
    audit.lock(session)
    row = ClassificationOrderRow(
        kind=wish.kind.value,
        state=OrderState.WAITING.value,
        task_id=task.id,
        adapter_id=wish.adapter_id,
        head=wish.head,
        seed=wish.seed,
        attempts=0,
        ordered_by=actor,
        ordered_at=now,
    )
    session.add(row)
    session.flush()
    _record(session, "order:placed", row, task.name, actor=actor, now=now)
    return _order(row, task.name)


def is_due(session: Session, *, now: datetime) -> bool:
    """Say whether an order waits, or was left by its worker; only reads."""
    return session.scalars(_due(now)).one_or_none() is not None


def claim(session: Session, *, owner: str, now: datetime) -> Order | None:
    """Take the oldest order that waits, or whose worker is gone; None where there is none.

    One that was taken so often without an end is set aside as failed.
    """
    audit.lock(session)
    row = session.scalars(_due(now)).one_or_none()
    if row is None:
        return None
    name = _task_name(session, row)
    if row.attempts >= MAX_ATTEMPTS:
        row.state, row.code, row.finished_at = OrderState.FAILED.value, _LOST, now
        row.reason = f"{MAX_ATTEMPTS} workers took it and none brought it to an end"
        _record(session, "order:failed", row, name, actor=owner, now=now)
        return None
    row.state, row.attempts = OrderState.RUNNING.value, row.attempts + 1
    row.lease_owner, row.lease_expires_at = owner, now + timedelta(seconds=LEASE_SECONDS)
    _record(session, "order:claimed", row, name, actor=owner, now=now)
    return _order(row, name)


def done(session: Session, order_id: int, adapter_id: int, *, owner: str, now: datetime) -> None:
    """Finish an order with the adapter that it made or judged; LeaseLost where another worker took it over."""
    row = _held(session, order_id, owner)
    row.state, row.adapter_id, row.finished_at = OrderState.DONE.value, adapter_id, now
    row.lease_owner, row.lease_expires_at = None, None
    _record(session, "order:done", row, _task_name(session, row), actor=owner, now=now)


def fail(session: Session, order_id: int, *, code: str, reason: str, owner: str, now: datetime) -> None:
    """End an order that cannot be carried out; LeaseLost where another worker took it over."""
    row = _held(session, order_id, owner)
    row.state, row.code, row.reason, row.finished_at = OrderState.FAILED.value, code, reason, now
    row.lease_owner, row.lease_expires_at = None, None
    _record(session, "order:failed", row, _task_name(session, row), actor=owner, now=now)


def find(session: Session, order_id: int) -> Order:
    """Return one order; RecordMissing where there is none."""
    row = session.get(ClassificationOrderRow, order_id)
    if row is None:
        raise RecordMissing(f"there is no order {order_id}")
    return _order(row, _task_name(session, row))


def _due(now: datetime) -> Select[ClassificationOrderRow]:
    waiting = ClassificationOrderRow.state == OrderState.WAITING.value
    lost = and_(ClassificationOrderRow.state == OrderState.RUNNING.value, ClassificationOrderRow.lease_expires_at < now)
    return select(ClassificationOrderRow).where(or_(waiting, lost)).order_by(ClassificationOrderRow.id).limit(1)


def _held(session: Session, order_id: int, owner: str) -> ClassificationOrderRow:
    audit.lock(session)
    row = session.get(ClassificationOrderRow, order_id, populate_existing=True)
    if row is None or row.state != OrderState.RUNNING.value or row.lease_owner != owner:
        raise LeaseLost(f"order {order_id} is no longer this worker's")
    return row


def _record(
    session: Session, tag: str, row: ClassificationOrderRow, task_name: str, *, actor: str, now: datetime
) -> None:
    details: dict[str, audit.Detail] = {"order": row.id, "kind": row.kind, "adapter": row.adapter_id, "code": row.code}
    audit.record(session, tag, f"task/{task_name}", actor=actor, now=now, details=details)


def _task_name(session: Session, row: ClassificationOrderRow) -> str:
    return session.get_one(ClassificationTaskRow, row.task_id).name


def _order(row: ClassificationOrderRow, task_name: str) -> Order:
    return Order(
        id=row.id,
        task=task_name,
        wish=Wish(OrderKind(row.kind), row.adapter_id, row.head, row.seed),
        state=OrderState(row.state),
        attempts=row.attempts,
        code=row.code,
        reason=row.reason,
        ordered_by=row.ordered_by,
        ordered_at=row.ordered_at,
        finished_at=row.finished_at,
    )
