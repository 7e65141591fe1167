"""The audit chain: append one event in the transaction of the change that it describes, and prove the chain whole.

Each event's hash covers the event and the hash before it: ``h = sha256(h_previous || canonical JSON)``. A row that is
changed, removed or put in between breaks every hash after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, func, select, text
from sqlalchemy.orm import Session

from storage.models import AuditEventRow

GENESIS = "0" * 64
_LOCK_KEY = 0x6F6E637565  # any fixed number that is ours on a shared PostgreSQL server
_PAGE = 2000

_EVENTS = cast("Table", AuditEventRow.__table__)

Detail = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One link of the chain. ``details`` is canonical JSON text and never holds patient data."""

    seq: int
    at: str
    tag: str
    subject: str
    actor: str
    details: str
    previous_hash: str
    hash: str

    def expected_hash(self) -> str:
        """Return the hash that this event must carry."""
        return _hash(self.previous_hash, self.seq, self.at, self.tag, self.subject, self.actor, self.details)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a walk along the chain found; ``broken_seq`` is None where every link holds."""

    events: int
    head: str
    broken_seq: int | None
    reason: str | None


def lock(session: Session) -> None:
    """Serialise writers until the end of the transaction, so that the chain never forks.

    SQLite writers already queue at BEGIN IMMEDIATE; PostgreSQL takes an advisory lock.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})


def record(
    session: Session, tag: str, subject: str, *, actor: str, now: datetime, details: Mapping[str, Detail] | None = None
) -> AuditEvent:
    """Append one event. ``tag`` reads ``subject:verb-past``; ``details`` must not hold patient data."""
    lock(session)
    last = session.execute(
        select(AuditEventRow.seq, AuditEventRow.hash).order_by(AuditEventRow.seq.desc()).limit(1)
    ).one_or_none()
    seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
    at, text_details = now.isoformat(timespec="microseconds"), _canonical(details or {})
    digest = _hash(previous, seq, at, tag, subject, actor, text_details)
    event = AuditEvent(seq, at, tag, subject, actor, text_details, previous, digest)
    # A plain insert: every received image passes here, and the unit of work would double its cost.
    session.execute(_EVENTS.insert(), asdict(event))
    return event


def history(
    session: Session, *, subject: str | None = None, tag: str | None = None, after: int = 0, limit: int = 200
) -> tuple[AuditEvent, ...]:
    """Return events in order of the chain, those after ``after`` first; a page holds ``limit``."""
    query = select(AuditEventRow).where(AuditEventRow.seq > after).order_by(AuditEventRow.seq).limit(limit)
    if subject is not None:
        query = query.where(AuditEventRow.subject == subject)
    if tag is not None:
        query = query.where(AuditEventRow.tag == tag)
    return tuple(_event(row) for row in session.scalars(query))


def latest(session: Session, *, limit: int = 200, before: int | None = None) -> tuple[AuditEvent, ...]:
    """Return the newest events first, those before ``before`` where it is given."""
    query = select(AuditEventRow).order_by(AuditEventRow.seq.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEventRow.seq < before)
    return tuple(_event(row) for row in session.scalars(query))


def verify(session: Session) -> Verification:
    """Walk the whole chain and name the first link that does not hold."""
    previous, seq = GENESIS, 0
    for event in _walk(session):
        if event.seq != seq + 1:
            return Verification(seq, previous, event.seq, f"event {seq + 1} is missing before event {event.seq}")
        if event.previous_hash != previous:
            return Verification(seq, previous, event.seq, "it does not follow from the event before it")
        if event.hash != event.expected_hash():
            return Verification(seq, previous, event.seq, "its content does not match its hash")
        seq, previous = event.seq, event.hash
    return Verification(seq, previous, None, None)


def count(session: Session) -> int:
    """Return how many events the chain holds."""
    return session.scalar(select(func.count()).select_from(AuditEventRow)) or 0


def _walk(session: Session) -> Iterator[AuditEvent]:
    last = None
    while True:
        query = select(AuditEventRow).order_by(AuditEventRow.seq).limit(_PAGE)
        page = tuple(
            _event(row) for row in session.scalars(query if last is None else query.where(AuditEventRow.seq > last))
        )
        if not page:
            return
        yield from page
        last = page[-1].seq
        session.expunge_all()


def _event(row: AuditEventRow) -> AuditEvent:
    return AuditEvent(row.seq, row.at, row.tag, row.subject, row.actor, row.details, row.previous_hash, row.hash)


def _hash(previous: str, *fields: str | int) -> str:
    return hashlib.sha256(
        (previous + json.dumps(fields, ensure_ascii=False, separators=(",", ":"))).encode()
    ).hexdigest()


def _canonical(details: Mapping[str, Detail]) -> str:
    return json.dumps(dict(details), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
