"""Deliveries: each written object on its way to each destination, with its own state, retries and reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from storage import audit, changes, circuits, deletions, due_deliveries, leases, study_locks
from storage.backoff import Backoff, Draw, no_jitter
from storage.circuits import CircuitState
from storage.cursors import number_place
from storage.domain import DeliveryState, ObjectKind, Priority
from storage.due_deliveries import Waiting
from storage.errors import IllegalTransition, RecordMissing
from storage.models import AnalysisRow, DeliveryRow, ResultObjectRow, StandingRow, StudyRow


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

    ``job_id`` is None where the object is the notice of a study that was not analysed. ``rank`` is that of its study's
    priority: the lowest goes first. ``reason`` of one that was sent is what the peer remarked.
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

    @property
    def cursor(self) -> str:
        """The place behind it in lists of the newest first."""
        return str(self.id)


@dataclass(frozen=True, slots=True)
class ClaimTerms:
    """Who takes a batch, for how long, how much of it, and how many of a destination may be on their way at once.

    ``owner`` belongs to this batch alone: that is how batches are counted.
    """

    owner: str
    lease_seconds: float
    objects: int = 50
    associations: int = 1


ALLOWED: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset({DeliveryState.SENDING, DeliveryState.SUPERSEDED, DeliveryState.CALLED_OFF}),
    DeliveryState.SENDING: frozenset({DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.PENDING}),
    DeliveryState.REFUSED: frozenset({DeliveryState.PENDING, DeliveryState.CALLED_OFF}),
    DeliveryState.SENT: frozenset({DeliveryState.PENDING}),
    DeliveryState.SUPERSEDED: frozenset(),
    DeliveryState.CALLED_OFF: frozenset({DeliveryState.PENDING}),
}

_BACKOFF = Backoff(first_seconds=5.0, longest_seconds=15 * 60.0)
_COUNTED = 1000
_LET_GO: Mapping[str, object] = {
    "state": DeliveryState.PENDING.value,
    "lease_owner": None,
    "lease_expires_at": None,
}


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


def waiting(session: Session, *, now: datetime) -> tuple[Waiting, ...]:
    """Return what waits for each destination whose circuit lets something through, the most urgent first."""
    shut = circuits.shut_off(session, now=now)
    names = [name for name in due_deliveries.destinations(session, now=now) if name not in shut]
    found = [due_deliveries.waiting(session, name, cap=_COUNTED, now=now) for name in names]
    return tuple(sorted(found, key=lambda one: len(Priority) + 1 if one.rank is None else one.rank))


def claim_due(
    session: Session,
    *,
    owner: str,
    lease_seconds: float,
    now: datetime,
    limit: int = 50,
    busy: Collection[str] = (),
) -> tuple[Delivery, ...]:
    """Take what is due for the first destination that has something, as ``claim`` does; ``busy`` ones are left out."""
    terms = ClaimTerms(owner, lease_seconds, limit)
    ready = (one.destination for one in waiting(session, now=now) if one.due and one.destination not in busy)
    claims = (claim(session, destination, terms, now=now) for destination in ready)
    return next((batch for batch in claims if batch), ())


def claim(session: Session, destination: str, terms: ClaimTerms, *, now: datetime) -> tuple[Delivery, ...]:
    """Take a batch of what is due for a destination under a lease, in the order in which it is to be sent.

    The most urgent goes first, then what waited longest; what a sender left whose lease ran out goes before. Nothing
    is taken while as many batches as may be are on their way, nor where the circuit lets none through.
    """
    _take_turn(session, destination)
    if due_deliveries.open_batches(session, destination, now=now) >= terms.associations:
        return ()
    ids = due_deliveries.taken(session, destination, limit=terms.objects, now=now)
    if not ids or _is_shut(session, destination, terms, now):
        return ()
    lease = leases.taken_by(terms.owner, seconds=terms.lease_seconds, now=now)
    begun = {"state": DeliveryState.SENDING.value, "attempts": DeliveryRow.attempts + 1, **lease}
    _update(session, DeliveryRow.id.in_(ids), begun)
    by_id = {delivery.id: delivery for delivery in chosen(session, ids)}
    return tuple(by_id[number] for number in ids)


def renew(session: Session, ids: Collection[int], *, owner: str, lease_seconds: float, now: datetime) -> None:
    """Push the leases out of what an owner still holds of some deliveries: it is alive, however slow its peer is."""
    _update(session, due_deliveries.held_by(ids, owner), leases.taken_by(owner, seconds=lease_seconds, now=now))


def hand_back(session: Session, ids: Collection[int], *, owner: str) -> None:
    """Let go of deliveries that were claimed and not offered to the peer: they stand as before, and are due."""
    _update(session, due_deliveries.held_by(ids, owner), {**_LET_GO, "attempts": DeliveryRow.attempts - 1})


def put_off(session: Session, ids: Collection[int], *, owner: str, now: datetime, draw: Draw) -> None:
    """Let go of deliveries that were tried while their destination is known to be in trouble, until a later time.

    That trouble is on record: these attempts tell nothing more, and are no events.
    """
    held = select(DeliveryRow.id, DeliveryRow.attempts).where(due_deliveries.held_by(ids, owner))
    for number, attempts in session.execute(held).all():
        moment = now + _BACKOFF.pause(attempts, draw=draw)
        _update(session, due_deliveries.held_by([number], owner), {**_LET_GO, "next_attempt_at": moment})


def sent(
    session: Session, delivery_id: int, *, owner: str, status: int, now: datetime, note: str | None = None
) -> None:
    """Record that the peer accepted the object with a success or warning status; ``note`` is what it remarked."""
    held = _held(session, delivery_id, owner)
    if held is None:
        return
    row, study = held
    _step(row, DeliveryState.SENT)
    row.status, row.code, row.reason, row.sent_at = status, None, note, now
    _record(session, row, study, "delivery:sent", now=now)


def refused(
    session: Session, delivery_id: int, *, owner: str, status: int | None, code: str, reason: str, now: datetime
) -> None:
    """Record that the peer will not take the object however often it is sent; a person must look."""
    held = _held(session, delivery_id, owner)
    if held is None:
        return
    row, study = held
    _step(row, DeliveryState.REFUSED)
    row.status, row.code, row.reason = status, code, reason
    _record(session, row, study, "delivery:refused", now=now)


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
    _step(row, DeliveryState.PENDING)
    row.status, row.code, row.reason = status, code, reason
    row.next_attempt_at = now if draw is None else now + _BACKOFF.pause(row.attempts, draw=draw)
    _record(session, row, study, "delivery:postponed", now=now)


def retry(session: Session, delivery_id: int, *, actor: str, now: datetime) -> None:
    """Send a refused or already sent object once more; ResultsDeleted where retention deleted it."""
    study = study_locks.take_of_delivery(session, delivery_id)
    row = session.get(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    if row is None or study is None:
        raise RecordMissing(f"there is no delivery {delivery_id}; see `oncue deliveries list`")
    deletions.require_object(session, session.get_one(ResultObjectRow, row.object_id, populate_existing=True))
    _step(row, DeliveryState.PENDING)
    row.next_attempt_at = now
    changes.announce(session)
    _record(session, row, audit.concerned(study), "delivery:retried", now=now, actor=actor)


def call_off(session: Session, job_id: int, *, now: datetime) -> None:
    """Call off the deliveries of a job's objects that have not begun: a later result took its place.

    The caller has taken the study. Whether one has begun is known once its row is held: a gateway may be taking it.
    """
    _supersede(session, select(ResultObjectRow.id).where(ResultObjectRow.job_id == job_id), now=now)


def call_off_notice(session: Session, notice_id: int, *, now: datetime) -> None:
    """Call off the deliveries of a notice that have not begun: what it says is not so any more.

    The caller has taken the study.
    """
    _supersede(session, select(ResultObjectRow.id).where(ResultObjectRow.notice_id == notice_id), now=now)


def _supersede(session: Session, written: Select[int], *, now: datetime) -> None:
    query = (
        select(DeliveryRow)
        .where(DeliveryRow.object_id.in_(written), DeliveryRow.state == DeliveryState.PENDING.value)
        .order_by(DeliveryRow.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    rows = session.scalars(query).all()
    if not rows:
        return
    # The objects of one job or notice are of one study.
    study = audit.study_of(session, session.get_one(ResultObjectRow, rows[0].object_id).study_id)
    for row in rows:
        _step(row, DeliveryState.SUPERSEDED)
        _record(session, row, study, "delivery:superseded", now=now)


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
    item = session.get_one(ResultObjectRow, row.object_id)
    _record(session, row, audit.study_of(session, item.study_id), "delivery:called-off", now=now, actor=actor)


def _query() -> Select[DeliveryRow, ResultObjectRow, str]:
    return (
        select(DeliveryRow, ResultObjectRow, StudyRow.study_instance_uid)
        .join(ResultObjectRow, ResultObjectRow.id == DeliveryRow.object_id)
        .join(StudyRow, StudyRow.id == ResultObjectRow.study_id)
        .execution_options(populate_existing=True)  # batches are claimed and given back behind the session's back
    )


def _delivery(row: DeliveryRow, item: ResultObjectRow, uid: str) -> Delivery:
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
    )


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
    _update(session, waits & (DeliveryRow.rank > rank), {"rank": rank})


def _update(session: Session, condition: ColumnElement[bool], values: Mapping[str, object]) -> None:
    query = update(DeliveryRow).where(condition).values(**values)
    session.execute(query.execution_options(synchronize_session=False))


def _take_turn(session: Session, destination: str) -> None:
    """Have claims of one destination follow one another, so that the batches on their way can be counted."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("deliveries"), func.hashtext(destination))))


def _is_shut(session: Session, destination: str, terms: ClaimTerms, now: datetime) -> bool:
    found = circuits.admit(session, destination, trial_seconds=terms.lease_seconds, now=now)
    return found is CircuitState.OPEN


def _held(session: Session, delivery_id: int, owner: str) -> tuple[DeliveryRow, audit.ConcernedStudy] | None:
    """Return the row where ``owner`` still holds it; a gateway whose lease ran out says nothing any more."""
    study = study_locks.take_of_delivery(session, delivery_id)
    row = session.get_one(DeliveryRow, delivery_id, with_for_update=True, populate_existing=True)
    if study is None or row.state != DeliveryState.SENDING.value or row.lease_owner != owner:
        return None
    return row, audit.concerned(study)


def _step(row: DeliveryRow, state: DeliveryState) -> None:
    if state not in ALLOWED[DeliveryState(row.state)]:
        raise IllegalTransition(f"delivery {row.id} cannot go from {row.state} to {state}")
    row.state = state.value
    leases.end(row)


def _record(
    session: Session,
    row: DeliveryRow,
    study: audit.ConcernedStudy | None,
    tag: str,
    *,
    now: datetime,
    actor: str = "delivery",
) -> None:
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
