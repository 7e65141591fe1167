"""One process deletes at a time: whoever is to has a lease, which ends by itself when its process dies."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from storage import leases
from storage.deletion_tables import RetentionTurnRow
from storage.errors import LeaseLost

LEASE_SECONDS = 120.0


def take(session: Session, owner: str, *, now: datetime) -> bool:
    """Take the turn; False where another process has it."""
    free = or_(RetentionTurnRow.lease_owner.is_(None), leases.ran_out(RetentionTurnRow.lease_expires_at, now=now))
    query = select(RetentionTurnRow).where(free).with_for_update(skip_locked=True)
    row = session.scalars(query.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        return False
    leases.take(row, owner, seconds=LEASE_SECONDS, now=now)
    return True


def go_on(session: Session, owner: str, *, now: datetime) -> None:
    """Keep the turn for longer; LeaseLost where another process has it by now."""
    row = session.get_one(RetentionTurnRow, 1, with_for_update=True, populate_existing=True)
    if row.lease_owner != owner:
        raise LeaseLost("another process deletes by the rules by now; this round ends")
    leases.extend(row, seconds=LEASE_SECONDS, now=now)


def end(session: Session, owner: str, *, now: datetime) -> None:
    """Give the turn back, if it is still ours."""
    row = session.get_one(RetentionTurnRow, 1, with_for_update=True, populate_existing=True)
    if row.lease_owner == owner:
        leases.end(row)
        row.ran_at = now


def last_round(session: Session) -> datetime | None:
    """Return when a round last ended."""
    return session.scalar(select(RetentionTurnRow.ran_at))
