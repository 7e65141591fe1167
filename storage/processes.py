"""Which processes of oncue are at work: each beats in the database when it has done its round."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit
from storage.models import ProcessRow

BEAT_SECONDS = 10.0
"""How often a process says that it is at work: often enough to miss two of them."""

STALE_AFTER = timedelta(seconds=30)
"""A process that was not seen for so long is taken for dead."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process: what it is, since when, and when it last did its work."""

    id: str
    kind: str
    started_at: datetime
    seen_at: datetime

    def is_alive(self, now: datetime) -> bool:
        """Say whether it was at work lately."""
        return now - self.seen_at < STALE_AFTER


@dataclass(frozen=True, slots=True)
class Served:
    """One analyser in one pool of workers: what a route asks for."""

    pool: str
    analyser: str


def start(
    session: Session, process_id: str, kind: str, *, now: datetime, serves: Collection[Served] | None = None
) -> None:
    """Record that a process began its work; a worker says what it serves."""
    session.add(
        ProcessRow(id=process_id, kind=kind, started_at=now, seen_at=now, stopped_at=None, serves=_text(serves))
    )
    audit.record(session, "process:started", f"process/{process_id}", actor=process_id, now=now, details={"kind": kind})


def beat(session: Session, process_id: str, *, now: datetime, serves: Collection[Served] | None = None) -> None:
    """Record that a process did its round; no event unless what it serves has changed since the last one."""
    row = session.get(ProcessRow, process_id)
    if row is None:
        return
    if serves is None or row.serves == _text(serves):
        row.seen_at = now
    else:
        row.seen_at, row.serves = now, _text(serves)
        details = {"serves": ", ".join(sorted(one.analyser for one in serves))}
        audit.record(session, "process:changed", f"process/{process_id}", actor=process_id, now=now, details=details)


def stop(session: Session, process_id: str, *, now: datetime) -> None:
    """Record that a process ended in good order."""
    row = session.get(ProcessRow, process_id)
    if row is not None and row.stopped_at is None:
        row.stopped_at = now
        audit.record(session, "process:stopped", f"process/{process_id}", actor=process_id, now=now)


def running(session: Session, *, kind: str | None = None) -> tuple[Process, ...]:
    """Return the processes that have not ended in good order, newest first."""
    query = select(ProcessRow).where(ProcessRow.stopped_at.is_(None)).order_by(ProcessRow.started_at.desc())
    if kind is not None:
        query = query.where(ProcessRow.kind == kind)
    return tuple(Process(row.id, row.kind, row.started_at, row.seen_at) for row in session.scalars(query))


def lost(session: Session, ids: Collection[str], *, now: datetime) -> frozenset[str]:
    """Return those of some processes that have ended, or were not seen for a while; one that is not known is none."""
    gone = (ProcessRow.seen_at < now - STALE_AFTER) | ProcessRow.stopped_at.is_not(None)
    return frozenset(session.scalars(select(ProcessRow.id).where(ProcessRow.id.in_(ids), gone)))


def served(session: Session, *, now: datetime | None = None) -> frozenset[Served]:
    """Return what the workers serve that have not ended; with ``now``, those alone that were at work lately."""
    query = select(ProcessRow).where(ProcessRow.stopped_at.is_(None), ProcessRow.serves.is_not(None))
    if now is not None:
        query = query.where(ProcessRow.seen_at >= now - STALE_AFTER)
    rows = session.scalars(query)
    return frozenset(Served(pool, analyser) for row in rows for pool, analyser in json.loads(row.serves or "[]"))


def _text(serves: Collection[Served] | None) -> str | None:
    return None if serves is None else json.dumps(sorted([one.pool, one.analyser] for one in serves))
