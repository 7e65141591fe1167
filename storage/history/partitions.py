"""Months of events: PostgreSQL keeps each in a partition of its own, made before the month begins.

What has none goes to a default partition, so that nothing is ever turned away; SQLite keeps all events in one table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import DatabaseUnavailable
from storage.history.leaves import EVENTS

MONTHS_AHEAD = 2
FEW = 10_000
"""So many events of a month that has no partition are moved into one while everybody works."""
ALL = 1 << 62
"""As many as there are: whoever writes events meanwhile waits."""
_NAME = re.compile(r"audit_events_(\d{4})_(\d{2})", re.ASCII)
_END = "~"


def make_ahead(database: Database, *, now: datetime, most: int = FEW) -> tuple[str, ...]:
    """Make the partitions of this month and the next ones, and return the months that still have none.

    A month has none where somebody reads the whole table just now, who is not waited for, or where more than ``most``
    of its events lie in the default partition. Ask again later.
    """
    with database.read() as session:
        wanted = _without(session, tuple(months(now, MONTHS_AHEAD)))
    return tuple(month.isoformat()[:7] for month in wanted if not _made(database, month, most))


def lacking(session: Session, *, now: datetime) -> tuple[str, ...]:
    """Return which of this month and the next have no partition, as ``2026-11``."""
    return tuple(month.isoformat()[:7] for month in _without(session, tuple(months(now, 1))))


def strays(session: Session, *, most: int = FEW) -> int:
    """Return how many events lie in the default partition; beyond ``most`` nobody counts."""
    if session.get_bind().dialect.name != "postgresql":
        return 0
    # Asked by the times that no month covers: the application may not use a partition by its name.
    found = 0
    for since, until in _gaps(present(session)):
        few = select(EVENTS.c.seq).where(EVENTS.c.at >= since, EVENTS.c.at < until).limit(most - found).subquery()
        found += session.scalar(select(func.count()).select_from(few)) or 0
    return found


def present(session: Session) -> tuple[date, ...]:
    """Return the months that have a partition, the oldest first."""
    query = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass('audit_events')")
    found = (_NAME.fullmatch(name) for name in session.scalars(query))
    return tuple(sorted(date(int(name[1]), int(name[2]), 1) for name in found if name))


def months(now: datetime, ahead: int) -> Iterator[date]:
    """Yield the first day of this month in UTC, and of so many after it."""
    month = now.astimezone(UTC).date().replace(day=1)
    for _ in range(ahead + 1):
        yield month
        month = _after(month)


def partition(month: date) -> str:
    """Return the name of the month's table."""
    return f"audit_events_{month:%Y_%m}"


def _without(session: Session, wanted: tuple[date, ...]) -> tuple[date, ...]:
    if session.get_bind().dialect.name != "postgresql":
        return ()
    there = set(present(session))
    return tuple(month for month in wanted if month not in there)


def _gaps(covered: tuple[date, ...]) -> Iterator[tuple[str, str]]:
    """Yield the times that these months leave out, as ``at`` is written: from the first text to before the second."""
    since = ""
    for month in covered:
        if since < f"{month:%Y-%m}":
            yield since, f"{month:%Y-%m}"
        since = f"{_after(month):%Y-%m}"
    yield since, _END


def _after(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _made(database: Database, month: date, most: int) -> bool:
    """Make a month in a transaction of its own: its locks end with it."""
    call = text("SELECT audit_make_partition(:month, :most)")
    try:
        with database.write() as session:
            return session.scalar(call, {"month": month, "most": most}) is not None
    except DatabaseUnavailable:
        return False  # the database waits half a second for its locks, so that nobody waits behind it
