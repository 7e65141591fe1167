"""The outbox of notices: which studies were not analysed, and which destinations want to be told so.

A study is told of when no route wants it, when it is set aside, and for each route whose job failed for good. What is
not so any more is withdrawn: a notice that nobody got yet never goes out. Whoever calls has taken the study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, calling_off, deliveries, outbox, study_locks, written_objects
from storage.delivery_tables import DestinationRow
from storage.domain import Unanalysed
from storage.errors import IllegalTransition
from storage.models import StudyRow
from storage.result_tables import NoticeRow
from storage.states import NoticeState
from storage.written_objects import Origin, WrittenObject

NO_ROUTE = ""
NOT_APPLICABLE = "not_applicable"
SET_ASIDE = "set_aside"
ALLOWED: Mapping[NoticeState, frozenset[NoticeState]] = {
    NoticeState.PENDING: frozenset(
        {NoticeState.WRITTEN, NoticeState.NEEDLESS, NoticeState.FAILED, NoticeState.SUPERSEDED}
    ),
    NoticeState.WRITTEN: frozenset({NoticeState.SUPERSEDED}),
    NoticeState.NEEDLESS: frozenset({NoticeState.PENDING}),
    NoticeState.FAILED: frozenset({NoticeState.PENDING, NoticeState.SUPERSEDED}),
    NoticeState.SUPERSEDED: frozenset({NoticeState.PENDING}),
}
_HOLDING = (NoticeState.PENDING.value, NoticeState.WRITTEN.value)
_ACTOR = "delivery"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was not analysed and with which code: a study revision, by one route, or by none that wanted it."""

    revision: int
    code: str
    route: str = NO_ROUTE


@dataclass(frozen=True, slots=True)
class PendingNotice:
    """A notice that is due to be written; ``opened_at`` is the time that it carries, and a part of what it is."""

    id: int
    study_id: int
    study_instance_uid: str
    subject: Subject
    opened_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class NoticeReceiver:
    """A destination that is to be told, and how it wants its objects written; None is as for everybody."""

    name: str
    series_number_base: int | None
    series_description: str | None
    character_set: str | None


def open_notice(session: Session, study_id: int, subject: Subject, *, now: datetime) -> None:
    """Put it on the list that a study was not analysed, where a destination wants to know.

    What was said already, of an earlier revision too, is not said again; what was said for another reason is withdrawn.
    """
    if not receivers(session, subject.route):
        return
    holding = [row for row in _rows(session, study_id, subject.route) if row.state in _HOLDING]
    if any(row.subject_code == subject.code for row in holding):
        return
    for row in holding:
        _withdraw(session, row, actor=_ACTOR, now=now)
    row = _row(session, study_id, subject)
    _begin(row, subject.code, now=now)
    session.flush()
    _record(session, row, "notice:opened", now=now, details={"code": subject.code})


def withdraw(session: Session, study_id: int, route: str, *, actor: str, now: datetime) -> None:
    """Withdraw what was to be said of a route, or of none, for the study is looked at anew.

    Deliveries that have not begun are called off; a destination that got the notice keeps it.
    """
    for row in _rows(session, study_id, route):
        if NoticeState.SUPERSEDED in ALLOWED[NoticeState(row.state)]:
            _withdraw(session, row, actor=actor, now=now)


def receivers(session: Session, route: str) -> tuple[NoticeReceiver, ...]:
    """Return the destinations that want to be told, by name: those of some routes only of these."""
    query = select(DestinationRow).where(DestinationRow.unanalysed == Unanalysed.SR.value).order_by(DestinationRow.name)
    return tuple(
        NoticeReceiver(row.name, row.series_number_base, row.series_description, row.character_set)
        for row in session.scalars(query)
        if row.routes is None or route in row.routes.split(",")
    )


def due(session: Session, *, now: datetime, limit: int = 20) -> tuple[PendingNotice, ...]:
    """Return the notices that are to be written now, oldest first."""
    query = (
        select(NoticeRow, StudyRow.study_instance_uid)
        .join(StudyRow, StudyRow.id == NoticeRow.study_id)
        .where(NoticeRow.state == NoticeState.PENDING.value, NoticeRow.next_attempt_at <= now)
        .order_by(NoticeRow.next_attempt_at, NoticeRow.id)
        .limit(limit)
    )
    return tuple(_pending(row, uid) for row, uid in session.execute(query))


def written(
    session: Session,
    notice: PendingNotice,
    objects: Sequence[tuple[WrittenObject, Sequence[str]]],
    *,
    now: datetime,
) -> None:
    """Record the objects of a notice, each with its destinations, and put them on their way.

    Nothing changes where the notice was written, withdrawn or opened anew in the meantime.
    """
    row = _held(session, notice)
    if row is None:
        return
    _step(row, NoticeState.WRITTEN)
    row.code, row.reason = None, None
    for item, destinations in objects:
        origin = Origin(notice.study_id, notice_id=notice.id)
        added = written_objects.add(session, item, origin, actor=_ACTOR, now=now)
        deliveries.open_deliveries(session, added, destinations, now=now)
    _record(session, row, "notice:written", now=now)


def needless(session: Session, notice: PendingNotice, *, now: datetime) -> None:
    """Record that no destination wants to be told any more."""
    row = _held(session, notice)
    if row is not None:
        _step(row, NoticeState.NEEDLESS)
        _record(session, row, "notice:needless", now=now)


def failed(session: Session, notice: PendingNotice, *, code: str, reason: str, retryable: bool, now: datetime) -> None:
    """Record that a notice could not be written; tried again later where that can help."""
    row = _held(session, notice)
    if row is None:
        return
    postponed = outbox.postpone(row, code=code, reason=reason, retryable=retryable, now=now)
    if not postponed:
        _step(row, NoticeState.FAILED)
    tag = "notice:postponed" if postponed else "notice:failed"
    _record(session, row, tag, now=now, details={"code": code, "attempt": row.attempts})


def _rows(session: Session, study_id: int, route: str) -> Sequence[NoticeRow]:
    query = select(NoticeRow).where(NoticeRow.study_id == study_id, NoticeRow.route == route).order_by(NoticeRow.id)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _row(session: Session, study_id: int, subject: Subject) -> NoticeRow:
    """Return the row of a revision and route, ready to be begun; it is made where there is none."""
    known = next((row for row in _rows(session, study_id, subject.route) if row.revision == subject.revision), None)
    if known is not None:
        _step(known, NoticeState.PENDING)
        return known
    row = NoticeRow(study_id=study_id, revision=subject.revision, route=subject.route, state=NoticeState.PENDING.value)
    session.add(row)
    return row


def _begin(row: NoticeRow, code: str, *, now: datetime) -> None:
    row.subject_code, row.opened_at, row.next_attempt_at = code, now, now
    row.attempts, row.code, row.reason = 0, None, None


def _withdraw(session: Session, row: NoticeRow, *, actor: str, now: datetime) -> None:
    _step(row, NoticeState.SUPERSEDED)
    calling_off.call_off_notice(session, row.id, now=now)
    _record(session, row, "notice:superseded", actor=actor, now=now)


def _held(session: Session, notice: PendingNotice) -> NoticeRow | None:
    """Take the study and return the row where it is still the notice that was read."""
    study_locks.take(session, notice.study_id)
    row = session.get_one(NoticeRow, notice.id, populate_existing=True)
    is_same = row.state == NoticeState.PENDING.value and row.opened_at == notice.opened_at
    return row if is_same else None


def _step(row: NoticeRow, state: NoticeState) -> None:
    if state not in ALLOWED[NoticeState(row.state)]:
        raise IllegalTransition(f"notice {row.id} cannot go from {row.state} to {state}")
    row.state = state.value


def _pending(row: NoticeRow, uid: str) -> PendingNotice:
    subject = Subject(row.revision, row.subject_code, row.route)
    return PendingNotice(row.id, row.study_id, uid, subject, row.opened_at, row.attempts)


def _record(
    session: Session,
    row: NoticeRow,
    tag: str,
    *,
    now: datetime,
    actor: str = _ACTOR,
    details: Mapping[str, audit.Detail] | None = None,
) -> None:
    study = audit.study_of(session, row.study_id)
    context = {"notice": row.id, "revision": row.revision, "route": row.route or None, **(details or {})}
    audit.record(session, tag, f"study/{study.uid}", actor=actor, now=now, details=context, study=study)
