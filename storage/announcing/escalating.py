"""Telling the next channel of an urgent study that nobody opened in time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage import study_locks
from storage.announcing import channels, opening
from storage.announcing.channels import ChannelEntry
from storage.announcing.tables import UrgentStudyRow
from storage.domain import Priority

_MOST_AT_ONCE = 50
_UNOPENED = (
    UrgentStudyRow.escalate_at.is_not(None),
    UrgentStudyRow.opened_at.is_(None),
    UrgentStudyRow.ended_at.is_(None),
)


def open_due(session: Session, *, now: datetime) -> int:
    """Open the announcements of the escalations that are due, of a few studies at a time; return how many these are."""
    due = (UrgentStudyRow.escalate_at <= now, *_UNOPENED)
    earliest = select(UrgentStudyRow.id).where(*due).order_by(UrgentStudyRow.escalate_at).limit(_MOST_AT_ONCE)
    first = session.scalars(earliest).all()
    if not first:
        return 0
    study_locks.take_all(session, select(UrgentStudyRow.study_id).where(UrgentStudyRow.id.in_(first)))
    query = select(UrgentStudyRow).where(UrgentStudyRow.id.in_(first), *due).order_by(UrgentStudyRow.id)
    rows = session.scalars(query.with_for_update().execution_options(populate_existing=True)).all()
    entries = [entry for entry in channels.entries(session) if entry.escalation_minutes is not None]
    for row in rows:
        concerned = [entry for entry in entries if _concerns(entry, row)]
        late = [entry for entry in concerned if _at(entry, row) <= now]
        row.escalations += sum(opening.escalate(session, row.study_id, entry, now=now) for entry in late)
        row.escalate_at = _next(concerned, row, now)
    return len(rows)


def due_at(session: Session) -> datetime | None:
    """Return when the next escalation of any study is due, None where none is."""
    return session.scalar(select(func.min(UrgentStudyRow.escalate_at)).where(*_UNOPENED))


def _concerns(entry: ChannelEntry, row: UrgentStudyRow) -> bool:
    return Priority(row.priority) in entry.priorities and entry.listens_to(row.route)


def _at(entry: ChannelEntry, row: UrgentStudyRow) -> datetime:
    return row.analysed_at + timedelta(minutes=entry.escalation_minutes or 0)


def _next(concerned: Sequence[ChannelEntry], row: UrgentStudyRow, now: datetime) -> datetime | None:
    return min((moment for entry in concerned if (moment := _at(entry, row)) > now), default=None)
