"""Requests of peers that we vouch for instances: asked, judged, reported (PS3.4 J.3.2, J.3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import audit, changes
from storage.backoff import Backoff, no_jitter
from storage.commitment.references import (
    Failure,
    Reference,
    failures_text,
    read_failures,
    read_references,
    references_text,
)
from storage.commitment.tables import CommitmentRequestRow
from storage.errors import IllegalTransition, RecordExists
from storage.states import CommitmentState

ALLOWED: Mapping[CommitmentState, frozenset[CommitmentState]] = {
    CommitmentState.ASKED: frozenset({CommitmentState.JUDGED}),
    CommitmentState.JUDGED: frozenset({CommitmentState.REPORTED, CommitmentState.FAILED}),
    CommitmentState.REPORTED: frozenset({CommitmentState.ASKED}),
    CommitmentState.FAILED: frozenset({CommitmentState.ASKED}),
}
"""REPORTED and FAILED are left where the peer asks for the same transaction once more."""

REPORTED_FOR = timedelta(days=1)
"""How long a peer is offered the report that it does not take."""
_PAUSES = Backoff(first_seconds=10.0, longest_seconds=15 * 60.0)
_ACTOR = "commitment"


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One request as it stands; ``failures`` is None until it is judged, ``peer`` the name of the entry."""

    id: int
    transaction_uid: str
    peer: str
    calling_aet: str
    references: tuple[Reference, ...]
    failures: tuple[Failure, ...] | None
    state: CommitmentState
    attempts: int
    asked_at: datetime
    code: str | None
    reason: str | None

    @property
    def committed(self) -> tuple[Reference, ...]:
        """The instances that we vouch for, once it is judged."""
        failed = {one.reference for one in self.failures or ()}
        return tuple(one for one in self.references if one not in failed)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: the name of the peer's entry, and the title that it calls itself."""

    peer: str
    calling_aet: str


def ask(
    session: Session,
    asker: Asker,
    transaction_uid: str,
    references: Sequence[Reference],
    *,
    hold: timedelta,
    now: datetime,
) -> CommitmentRequest:
    """Record a request; one of the same transaction and the same instances is the one that is known, asked again.

    Rounds leave it alone for ``hold``: whoever recorded it reports over the association that it came by. RecordExists
    where the transaction is one about other instances.
    """
    _take_turn(session, asker.peer)
    row = _named(session, asker.peer, transaction_uid)
    items = references_text(references)
    if row is None:
        row = CommitmentRequestRow(transaction_uid=transaction_uid, peer=asker.peer, attempts=0, items=items)
        row.state, row.next_attempt_at, row.asked_at = CommitmentState.ASKED.value, now + hold, now
        session.add(row)
    elif read_references(row.items) != tuple(references):
        raise RecordExists("the Transaction UID is in use for other instances: ask with a new one")
    elif CommitmentState(row.state) in (CommitmentState.REPORTED, CommitmentState.FAILED):
        _step(row, CommitmentState.ASKED)
        row.attempts, row.asked_at = 0, now
        row.failures = row.judged_at = row.reported_at = row.code = row.reason = None
    row.calling_aet, row.next_attempt_at = asker.calling_aet, now + hold
    session.flush()
    _record(session, row, "commitment:asked", now=now)
    return _request(row)


def judged(session: Session, request_id: int, failures: Sequence[Failure], *, now: datetime) -> CommitmentRequest:
    """Record for which of its instances we do not vouch; a request that is judged already stays as it is."""
    row = _held(session, request_id)
    if row.state == CommitmentState.ASKED.value:
        _step(row, CommitmentState.JUDGED)
        row.failures, row.judged_at = failures_text(failures), now
        session.flush()
        _record(session, row, "commitment:judged", now=now)
    return _request(row)


def reported(session: Session, request_id: int, *, now: datetime) -> None:
    """Record that the peer took our report."""
    row = _held(session, request_id)
    if row.state != CommitmentState.JUDGED.value:
        return
    _step(row, CommitmentState.REPORTED)
    row.reported_at, row.code, row.reason = now, None, None
    _record(session, row, "commitment:reported", now=now)


def postponed(session: Session, request_id: int, *, code: str, reason: str, now: datetime) -> CommitmentState:
    """Record that the peer did not take our report: it is offered again for a day, and then given up."""
    row = _held(session, request_id)
    if row.state != CommitmentState.JUDGED.value:
        return CommitmentState(row.state)
    row.code, row.reason = code, reason
    if now - row.asked_at >= REPORTED_FOR:
        _step(row, CommitmentState.FAILED)
        _record(session, row, "commitment:failed", now=now)
    else:
        row.next_attempt_at = now + _PAUSES.pause(row.attempts, draw=no_jitter)
    return CommitmentState(row.state)


def hand_over(session: Session, request_id: int, *, now: datetime) -> None:
    """Leave a request to the rounds at once: its association is over."""
    row = _held(session, request_id)
    row.next_attempt_at = now
    changes.announce(session)


def put_aside(session: Session, request_id: int, *, seconds: float, now: datetime) -> None:
    """Leave a request that cannot be judged yet for so long."""
    _held(session, request_id).next_attempt_at = now + timedelta(seconds=seconds)


def take(session: Session, request_id: int, *, seconds: float, now: datetime) -> CommitmentRequest | None:
    """Take a due request for so long, and count the attempt to report; None where somebody else has it."""
    row = _held(session, request_id)
    if row.next_attempt_at > now or CommitmentState(row.state) not in _OPEN:
        return None
    row.next_attempt_at = now + timedelta(seconds=seconds)
    if row.state == CommitmentState.JUDGED.value:
        row.attempts += 1
    session.flush()
    return _request(row)


def due(session: Session, *, now: datetime, limit: int) -> tuple[int, ...]:
    """Return the numbers of requests that wait to be judged or reported, the longest waiting first."""
    query = select(CommitmentRequestRow.id).where(_IS_OPEN, CommitmentRequestRow.next_attempt_at <= now)
    return tuple(session.scalars(query.order_by(CommitmentRequestRow.next_attempt_at).limit(limit)))


def next_at(session: Session) -> datetime | None:
    """Return when the next request is due, None where none is open."""
    return session.scalar(select(func.min(CommitmentRequestRow.next_attempt_at)).where(_IS_OPEN))


def find(session: Session, request_id: int) -> CommitmentRequest:
    """Return a request as it stands."""
    return _request(session.get_one(CommitmentRequestRow, request_id, populate_existing=True))


def listed(session: Session, *, limit: int = 100) -> tuple[CommitmentRequest, ...]:
    """Return requests, the newest first."""
    query = select(CommitmentRequestRow).order_by(CommitmentRequestRow.id.desc()).limit(limit)
    return tuple(map(_request, session.scalars(query)))


_OPEN = frozenset({CommitmentState.ASKED, CommitmentState.JUDGED})
_IS_OPEN = CommitmentRequestRow.state.in_(state.value for state in _OPEN)


def _take_turn(session: Session, peer: str) -> None:
    """Have requests of one peer follow one another: of two of the same transaction the second finds the first."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext("commitment"), func.hashtext(peer))))


def _named(session: Session, peer: str, transaction_uid: str) -> CommitmentRequestRow | None:
    query = select(CommitmentRequestRow).where(
        CommitmentRequestRow.peer == peer, CommitmentRequestRow.transaction_uid == transaction_uid
    )
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()


def _held(session: Session, request_id: int) -> CommitmentRequestRow:
    return session.get_one(CommitmentRequestRow, request_id, with_for_update=True, populate_existing=True)


def _step(row: CommitmentRequestRow, state: CommitmentState) -> None:
    if state not in ALLOWED[CommitmentState(row.state)]:
        raise IllegalTransition(f"commitment request {row.id} cannot go from {row.state} to {state}")
    row.state = state.value


def _record(session: Session, row: CommitmentRequestRow, tag: str, *, now: datetime) -> None:
    details: dict[str, audit.Detail] = {
        "peer": row.peer,
        "calling_aet": row.calling_aet,
        "instances": len(read_references(row.items)),
        "failures": None if row.failures is None else len(read_failures(row.failures)),
        "attempt": row.attempts,
        "code": row.code,
    }
    audit.record(session, tag, f"commitment/{row.transaction_uid}", actor=_ACTOR, now=now, details=details)


def _request(row: CommitmentRequestRow) -> CommitmentRequest:
    return CommitmentRequest(
        id=row.id,
        transaction_uid=row.transaction_uid,
        peer=row.peer,
        calling_aet=row.calling_aet,
        references=read_references(row.items),
        failures=None if row.failures is None else read_failures(row.failures),
        state=CommitmentState(row.state),
        attempts=row.attempts,
        asked_at=row.asked_at,
        code=row.code,
        reason=row.reason,
    )
