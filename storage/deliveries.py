"""Deliveries: each written object on its way to each destination, with its own state, retries and reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, or_, select
from sqlalchemy.orm import Session

from storage import audit, leases, study_locks
from storage.cursors import number_place
from storage.domain import DeliveryState, ObjectKind, Priority
from storage.errors import IllegalTransition, RecordMissing
from storage.models import DeliveryRow, ResultObjectRow, StudyRow


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One DICOM object that lies in the object store under ``digest``, ready to be sent.

    ``flaw`` says what a check found wrong with it: such a one is kept and never sent.
    """

    kind: ObjectKind
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    size_bytes: int
    flaw: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object on its way to one destination, as it stands. ``status`` is the DIMSE status of the last attempt.

    ``job_id`` is None where the object is the notice of a study that was not analysed.
    """

    id: int
    job_id: int | None
    study_instance_uid: str
    written: WrittenObject
    destination: str
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    status: int | None
    code: str | None
    reason: str | None
    sent_at: datetime | None

    @property
    def cursor(self) -> str:
        """The place behind it in lists of the newest first."""
        return str(self.id)


ALLOWED: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.SUPERSEDED, DeliveryState.CALLED_OFF}),
    DeliveryState.SENDING: frozenset({DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.PENDING}),
    DeliveryState.REFUSED: frozenset({DeliveryState.PENDING, DeliveryState.CALLED_OFF}),
    DeliveryState.SENT: frozenset({DeliveryState.PENDING}),
    DeliveryState.SUPERSEDED: frozenset(),
    DeliveryState.CALLED_OFF: frozenset({DeliveryState.PENDING}),
}

_BACKOFF_SECONDS = 5
_LONGEST_BACKOFF_SECONDS = 15 * 60


def open_deliveries(session: Session, item: ResultObjectRow, destinations: Sequence[str], *, now: datetime) -> None:
    """Add one pending delivery of an object for each destination that has none yet; the caller has taken the study.

    One with a flaw goes nowhere.
    """
    if item.flaw is not None:
        return
    known = set(session.scalars(select(DeliveryRow.destination).where(DeliveryRow.object_id == item.id)))
    for destination in destinations:
        if destination in known:
            continue
        row = DeliveryRow(
            object_id=item.id,
            destination=destination,
            rank=len(Priority),
            state=DeliveryState.PENDING.value,
            attempts=0,
            next_attempt_at=now,
        )
        session.add(row)
        session.flush()
        _record(session, row, "delivery:opened", now=now)


def open_or_repeat(session: Session, item: ResultObjectRow, destination: str, *, actor: str, now: datetime) -> None:
    """Open the delivery of an object to a destination, or send it once more unless it is under way."""
    query = select(DeliveryRow).where(DeliveryRow.object_id == item.id, DeliveryRow.destination == destination)
    row = session.scalars(query).one_or_none()
    if row is None:
        open_deliveries(session, item, [destination], now=now)
    elif DeliveryState(row.state) in (DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.CALLED_OFF):
        retry(session, row.id, actor=actor, now=now)


def claim_due(
    session: Session,
    *,
    owner: str,
    lease_seconds: float,
    now: datetime,
    limit: int = 50,
    busy: Collection[str] = (),
) -> tuple[Delivery, ...]:
    """Take the deliveries that are due under a lease; those whose lease ran out are taken too.

    All of one call go to one destination, the one that waited longest, so that one association can carry them.
    ``busy`` destinations are passed over: the caller is sending to them already.
    """
    rows = _take_due(session, now=now, limit=limit, busy=busy)
    for row in rows:
        row.state = DeliveryState.SENDING.value
        row.attempts += 1
        leases.take(row, owner, seconds=lease_seconds, now=now)
    session.flush()
    return chosen(session, [row.id for row in rows])


def sent(session: Session, delivery_id: int, *, owner: str, status: int, now: datetime) -> None:
    """Record that the peer accepted the object with a success or warning status."""
    row = _held(session, delivery_id, owner)
    if row is None:
        return
    _step(row, DeliveryState.SENT)
    row.status, row.code, row.reason, row.sent_at = status, None, None, now
    _record(session, row, "delivery:sent", now=now)


def refused(
    session: Session, delivery_id: int, *, owner: str, status: int | None, code: str, reason: str, now: datetime
) -> None:
    """Record that the peer will not take the object however often it is sent; a person must look."""
    row = _held(session, delivery_id, owner)
    if row is None:
        return
    _step(row, DeliveryState.REFUSED)
    row.status, row.code, row.reason = status, code, reason
    _record(session, row, "delivery:refused", now=now)


def postponed(
    session: Session, delivery_id: int, *, owner: str, status: int | None, code: str, reason: str, now: datetime
) -> None:
    """Record that this attempt failed but a later one may not; the delay doubles up to a quarter of an hour."""
    row = _held(session, delivery_id, owner)
    if row is None:
        return
    _step(row, DeliveryState.PENDING)
    row.status, row.code, row.reason = status, code, reason
    # The exponent is bounded so that a peer that is down for weeks cannot overflow the delay.
    seconds = min(_BACKOFF_SECONDS * 2 ** min(row.attempts - 1, 20), _LONGEST_BACKOFF_SECONDS)
    row.next_attempt_at = now + timedelta(seconds=seconds)
    _record(session, row, "delivery:postponed", now=now)


def retry(session: Session, delivery_id: int, *, actor: str, now: datetime) -> None:
    """Send a refused or already sent object once more."""
    study_locks.take_of_delivery(session, delivery_id)
    row = session.get(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise RecordMissing(f"there is no delivery {delivery_id}; see `oncue deliveries list`")
    _step(row, DeliveryState.PENDING)
    row.next_attempt_at = now
    _record(session, row, "delivery:retried", now=now, actor=actor)


def call_off(session: Session, job_id: int, *, now: datetime) -> None:
    """Call off the deliveries of a job's objects that have not begun: a later result took its place.

    The caller has taken the study. Whether one has begun is known once its row is held: a gateway may be taking it.
    """
    written = select(ResultObjectRow.id).where(ResultObjectRow.job_id == job_id)
    query = (
        select(DeliveryRow)
        .where(DeliveryRow.object_id.in_(written), DeliveryRow.state == DeliveryState.PENDING.value)
        .order_by(DeliveryRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for row in session.scalars(query).all():
        _step(row, DeliveryState.SUPERSEDED)
        _record(session, row, "delivery:superseded", now=now)


def call_off_destination(session: Session, destination: str, *, actor: str, now: datetime, limit: int = 200) -> int:
    """Call off the deliveries to a destination that have not begun, ``limit`` at most, and return how many.

    To be repeated, each time in a transaction of its own, until it returns 0: thousands in one would keep every other
    writer waiting.
    """
    waits = (DeliveryRow.destination == destination, DeliveryRow.state == DeliveryState.PENDING.value)
    first = tuple(session.scalars(select(DeliveryRow.id).where(*waits).order_by(DeliveryRow.id).limit(limit)))
    studies = (
        select(ResultObjectRow.study_id)
        .join(DeliveryRow, DeliveryRow.object_id == ResultObjectRow.id)
        .where(DeliveryRow.id.in_(first))
    )
    study_locks.take_all(session, studies)
    rows = _locked_rows(session, DeliveryRow.id.in_(first), waits[1])
    for row in rows:
        _call_off(session, row, actor=actor, now=now, code="destination_removed")
    return len(rows)


def call_off_forms(
    session: Session, job_id: int, destination: str, kinds: Collection[ObjectKind], *, now: datetime
) -> int:
    """Call off the deliveries of a job's forms to a destination that wait or were refused: it gets others instead.

    Returns how many. The caller has taken the study.
    """
    written = select(ResultObjectRow.id).where(ResultObjectRow.job_id == job_id, ResultObjectRow.kind.in_(kinds))
    ended = (DeliveryState.PENDING.value, DeliveryState.REFUSED.value)
    rows = _locked_rows(
        session,
        DeliveryRow.object_id.in_(written),
        DeliveryRow.destination == destination,
        DeliveryRow.state.in_(ended),
    )
    for row in rows:
        _call_off(session, row, actor="delivery", now=now, code="form_not_taken")
    return len(rows)


def count_open(session: Session, destination: str) -> int:
    """Return how many deliveries to a destination wait or are under way."""
    states = (DeliveryState.PENDING.value, DeliveryState.SENDING.value)
    query = select(func.count()).where(DeliveryRow.destination == destination, DeliveryRow.state.in_(states))
    return session.scalar(query) or 0


def count_by_state(session: Session, destination: str) -> Mapping[DeliveryState, int]:
    """Return how many deliveries to a destination there are in each state."""
    query = select(DeliveryRow.state, func.count()).where(DeliveryRow.destination == destination)
    return {DeliveryState(row[0]): row[1] for row in session.execute(query.group_by(DeliveryRow.state))}


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
    return tuple(_delivery(row, item, uid) for row, item, uid in session.execute(query))


def count(session: Session, *, state: DeliveryState | None = None, cap: int) -> int:
    """Return how many deliveries there are, counted to ``cap`` at most."""
    query = select(DeliveryRow.id).limit(cap)
    if state is not None:
        query = query.where(DeliveryRow.state == state.value)
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def chosen(session: Session, ids: Sequence[int]) -> tuple[Delivery, ...]:
    """Return the deliveries with these numbers, in order of their numbers."""
    query = _query().where(DeliveryRow.id.in_(ids)).order_by(DeliveryRow.id)
    return tuple(_delivery(row, item, uid) for row, item, uid in session.execute(query))


def of_instance(session: Session, sop_instance_uid: str) -> tuple[Delivery, ...]:
    """Return the deliveries of one object, to all its destinations."""
    query = select(DeliveryRow.id).join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
    return chosen(session, session.scalars(query.where(ResultObjectRow.sop_instance_uid == sop_instance_uid)).all())


def written_object(row: ResultObjectRow) -> WrittenObject:
    """Return the plain form of a written object's row."""
    return WrittenObject(
        kind=ObjectKind(row.kind),
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_instance_uid=row.series_instance_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        digest=row.digest,
        size_bytes=row.size_bytes,
        flaw=row.flaw,
    )


def _locked_rows(session: Session, *conditions: ColumnElement[bool]) -> Sequence[DeliveryRow]:
    query = select(DeliveryRow).where(*conditions).order_by(DeliveryRow.id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _call_off(session: Session, row: DeliveryRow, *, actor: str, now: datetime, code: str) -> None:
    _step(row, DeliveryState.CALLED_OFF)
    row.code = code
    _record(session, row, "delivery:called-off", now=now, actor=actor)


def _query() -> Select[DeliveryRow, ResultObjectRow, str]:
    return (
        select(DeliveryRow, ResultObjectRow, StudyRow.study_instance_uid)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .join(StudyRow, StudyRow.id == ResultObjectRow.study_id)
    )


def _delivery(row: DeliveryRow, item: ResultObjectRow, uid: str) -> Delivery:
    return Delivery(
        id=row.id,
        job_id=item.job_id,
        study_instance_uid=uid,
        written=written_object(item),
        destination=row.destination,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        status=row.status,
        code=row.code,
        reason=row.reason,
        sent_at=row.sent_at,
    )


def _take_due(session: Session, *, now: datetime, limit: int, busy: Collection[str]) -> Sequence[DeliveryRow]:
    """Lock due deliveries of the destination that waited longest; those that another gateway is taking are left out.

    They are locked without their studies, which a late image may hold: nothing is waited for while they are held.
    """
    is_due = or_(
        (DeliveryRow.state == DeliveryState.PENDING.value) & (DeliveryRow.next_attempt_at <= now),
        (DeliveryRow.state == DeliveryState.SENDING.value) & leases.ran_out(DeliveryRow.lease_expires_at, now=now),
    )
    passed = set(busy)
    while True:
        waiting = select(DeliveryRow.destination).where(is_due, DeliveryRow.destination.not_in(passed))
        first = session.scalar(waiting.order_by(DeliveryRow.next_attempt_at).limit(1))
        if first is None:
            return ()
        query = select(DeliveryRow).where(is_due, DeliveryRow.destination == first).order_by(DeliveryRow.id)
        query = query.limit(limit).with_for_update(skip_locked=True).execution_options(populate_existing=True)
        if rows := session.scalars(query).all():
            return rows
        passed.add(first)


def _held(session: Session, delivery_id: int, owner: str) -> DeliveryRow | None:
    """Return the row where ``owner`` still holds it; a gateway whose lease ran out says nothing any more."""
    study_locks.take_of_delivery(session, delivery_id)
    row = session.get_one(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    return row if row.state == DeliveryState.SENDING.value and row.lease_owner == owner else None


def _step(row: DeliveryRow, state: DeliveryState) -> None:
    if state not in ALLOWED[DeliveryState(row.state)]:
        raise IllegalTransition(f"delivery {row.id} cannot go from {row.state} to {state}")
    row.state = state.value
    leases.end(row)


def _record(session: Session, row: DeliveryRow, tag: str, *, now: datetime, actor: str = "delivery") -> None:
    item = session.get_one(ResultObjectRow, row.object_id)
    audit.record(
        session,
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
        study=audit.study_of(session, item.study_id),
    )
