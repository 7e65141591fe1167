"""Which announcements leave in one message, and how many messages a channel takes in an hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import Session

from storage.announcing.channels import ChannelEntry
from storage.announcing.study_facts import digest_of
from storage.announcing.tables import AnnouncementRow, AnnouncementState, ChannelKind
from storage.domain import Priority

GROUPED = frozenset({ChannelKind.WEBHOOK, ChannelKind.MAIL})
"""Kinds whose messages hold several announcements; all others get one after the other."""

MOST_IN_A_GROUP = 50

_HOUR = timedelta(hours=1)
_LONGEST_WAIT = _HOUR
"""Nothing is collected, or left for a receiver to recover, for longer: what is due later was put off by a clock that
was set back since, and is due now."""
_RANK = case({priority.value: priority.rank for priority in Priority}, value=AnnouncementRow.priority, else_=0)
"""The most urgent goes first; that a priority was taken away is as urgent as anything, for somebody acts on it."""


def next_group(session: Session, entry: ChannelEntry, *, now: datetime) -> Sequence[AnnouncementRow]:
    """Return what is to leave in the next message, locked; nothing where nothing is due.

    What left together before leaves together again. Otherwise what waits only to be collected goes along with the
    first one that is due.
    """
    pending = _pending(entry.name)
    is_due = or_(AnnouncementRow.next_attempt_at <= now, AnnouncementRow.next_attempt_at > now + _LONGEST_WAIT)
    due = select(AnnouncementRow).where(*pending, is_due)
    first = session.scalars(_locked(due.limit(1))).one_or_none()
    if first is None or entry.kind not in GROUPED:
        return [] if first is None else [first]
    if first.group_key is not None:
        return session.scalars(
            _locked(select(AnnouncementRow).where(*pending, AnnouncementRow.group_key == first.group_key))
        ).all()
    collected = or_(is_due, AnnouncementRow.attempts == 0)
    free = select(AnnouncementRow).where(*pending, AnnouncementRow.group_key.is_(None), collected)
    return session.scalars(_locked(free.limit(MOST_IN_A_GROUP))).all()


def group_key(rows: Sequence[AnnouncementRow]) -> str:
    """Return what tells a group from every other: the same announcements have the same one, one alone has its own."""
    return rows[0].key if len(rows) == 1 else digest_of(*sorted(row.key for row in rows))


def free_at(session: Session, entry: ChannelEntry, *, now: datetime) -> datetime:
    """Return when a channel may get its next message: now, or once the oldest of the last hour is an hour old."""
    if entry.per_hour is None:
        return now
    last_hour = AnnouncementRow.announced_at.between(now - _HOUR, now)  # a clock that was set back shuts nothing off
    query = (
        select(func.min(AnnouncementRow.announced_at))
        .where(AnnouncementRow.channel == entry.name, last_hour)
        .group_by(func.coalesce(AnnouncementRow.group_key, AnnouncementRow.key))
        .order_by(func.min(AnnouncementRow.announced_at).desc())
    )
    times = [moment for moment in session.scalars(query.limit(entry.per_hour)) if moment is not None]
    return now if len(times) < entry.per_hour else max(times[-1] + _HOUR, now)


def due_at(session: Session, name: str, *, now: datetime) -> datetime | None:
    """Return when the first pending announcement to a channel is due, None where there is none."""
    moment = AnnouncementRow.next_attempt_at
    first, last = session.execute(select(func.min(moment), func.max(moment)).where(*_pending(name))).one()
    return now if last is not None and last > now + _LONGEST_WAIT else first


def _pending(name: str) -> tuple[ColumnElement[bool], ...]:
    return AnnouncementRow.state == AnnouncementState.PENDING.value, AnnouncementRow.channel == name


def _locked(query: Select[AnnouncementRow]) -> Select[AnnouncementRow]:
    ordered = query.order_by(_RANK, AnnouncementRow.next_attempt_at, AnnouncementRow.id)
    return ordered.with_for_update(skip_locked=True).execution_options(populate_existing=True)
