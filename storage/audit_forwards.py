"""How far the audit trail was told to others: for each destination the first leaf of the log that it lacks.

Leaves are numbered without gaps in the order of sealing, so an event whose transaction was open for long comes when it
is sealed, and none is passed over. The place moves on only after a destination has what lies before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Integer, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from storage import leases
from storage.audit import AuditEvent, event_of
from storage.audit_tables import AuditEventRow, AuditLeafRow, AuditLogRow
from storage.errors import LeaseLost
from storage.models import Model

LEASE_SECONDS = 120.0

_BACKOFF_SECONDS = 10
_LONGEST_BACKOFF_SECONDS = 300
_BIG = BigInteger().with_variant(Integer, "sqlite")


class AuditForwardRow(Model):
    """A destination of the audit trail: the leaf that it gets next, and why it did not get it last time."""

    __tablename__ = "audit_forwards"

    destination: Mapped[str] = mapped_column(String(300), primary_key=True)
    next_leaf: Mapped[int] = mapped_column(_BIG)
    attempts: Mapped[int]
    next_attempt_at: Mapped[datetime]
    code: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    lease_owner: Mapped[str | None] = mapped_column(String(96))
    lease_expires_at: Mapped[datetime | None]


@dataclass(frozen=True, slots=True)
class Backlog:
    """How a destination stands: events that it lacks, and the last failure where there was one since."""

    events: int
    attempts: int
    code: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class SealedEvents:
    """Events in the order of the log, and the leaf that follows them."""

    events: tuple[AuditEvent, ...]
    next_leaf: int


def begin(session: Session, destination: str, *, now: datetime) -> None:
    """Note a destination that is new: it gets what is sealed from now on. One that is known stays as it is."""
    if session.get(AuditForwardRow, destination) is None:
        size = session.scalars(select(AuditLogRow.size)).one()
        session.add(AuditForwardRow(destination=destination, next_leaf=size, attempts=0, next_attempt_at=now))
        session.flush()


def is_due(session: Session, destination: str, *, owner: str, now: datetime) -> bool:
    """Say whether a destination lacks anything that this owner may send it now."""
    row = session.get(AuditForwardRow, destination)
    if row is None or row.next_attempt_at > now or _is_held(row, owner, now):
        return False
    return session.scalars(select(AuditLogRow.size)).one() > row.next_leaf


def take(session: Session, destination: str, *, owner: str, now: datetime) -> int | None:
    """Give the destination to one owner for a while and return its next leaf; None where another one has it."""
    row = _locked(session, destination)
    if row is None or _is_held(row, owner, now):
        return None
    leases.take(row, owner, seconds=LEASE_SECONDS, now=now)
    return row.next_leaf


def sealed_events(session: Session, first_leaf: int, *, limit: int) -> SealedEvents:
    """Return the events of the leaves from one on. Those that retention has taken out are passed over."""
    query = (
        select(AuditLeafRow.number, AuditEventRow)
        .outerjoin(AuditEventRow, AuditEventRow.seq == AuditLeafRow.seq)
        .where(AuditLeafRow.number >= first_leaf)
        .order_by(AuditLeafRow.number)
        .limit(limit)
    )
    rows = session.execute(query).all()
    following = rows[-1].number + 1 if rows else first_leaf
    return SealedEvents(tuple(event_of(row) for _, row in rows if row is not None), following)


def advance(session: Session, destination: str, next_leaf: int, *, owner: str, now: datetime) -> None:
    """Record that a destination has everything before a leaf; LeaseLost where another owner has it by now."""
    row = _held(session, destination, owner)
    row.next_leaf = next_leaf
    row.attempts, row.next_attempt_at = 0, now
    row.code = row.reason = None
    leases.end(row)


def postpone(session: Session, destination: str, *, owner: str, code: str, reason: str, now: datetime) -> None:
    """Record a failure. The next attempt follows after twice the pause of the one before, without end."""
    row = _held(session, destination, owner)
    row.attempts += 1
    row.code, row.reason = code, reason
    pause = min(_BACKOFF_SECONDS * 2 ** min(row.attempts - 1, 10), _LONGEST_BACKOFF_SECONDS)
    row.next_attempt_at = now + timedelta(seconds=pause)
    leases.end(row)


def backlog(session: Session, destination: str) -> Backlog | None:
    """Return how a destination stands, None where nothing was ever to be sent to it."""
    row = session.get(AuditForwardRow, destination)
    if row is None:
        return None
    size = session.scalars(select(AuditLogRow.size)).one()
    return Backlog(size - row.next_leaf, row.attempts, row.code, row.reason)


def _locked(session: Session, destination: str) -> AuditForwardRow | None:
    query = select(AuditForwardRow).where(AuditForwardRow.destination == destination).with_for_update()
    return session.scalars(query).one_or_none()


def _is_held(row: AuditForwardRow, owner: str, now: datetime) -> bool:
    """Say whether somebody else's lease still runs."""
    return row.lease_owner not in (None, owner) and row.lease_expires_at is not None and row.lease_expires_at > now


def _held(session: Session, destination: str, owner: str) -> AuditForwardRow:
    row = _locked(session, destination)
    if row is None or row.lease_owner != owner:
        raise LeaseLost(f"another process sends the audit trail to {destination} by now; it sends the same events")
    return row
