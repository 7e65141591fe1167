"""Which channel is told next of an urgent study that nobody opens, and when.

The channels that wait are told in the order of their minutes, each once while the study lies unopened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from storage import audit, study_locks
from storage.announcing.tables import (
    AnnouncementLevel,
    AnnouncementRow,
    AnnouncementState,
    ChannelRow,
    UrgentStudyRow,
)
from storage.domain import Priority

_ACTOR = "escalation"
_CLOCKS_DIFFER = timedelta(minutes=1)
_LOOKS_BACK = timedelta(hours=24)
"""Studies that wait for longer are told to no channel that is new: it would be told of all that ever lay unopened."""


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """A channel that is told of an urgent study, at a moment, where nobody opens it before."""

    channel: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DueEscalation:
    """An urgent study that a channel is to be told of now; ``job_id`` is of the result that made it urgent."""

    urgent_id: int
    study_id: int
    job_id: int
    revision: int
    route: str
    priority: Priority
    channel: str


def steps(session: Session, row: UrgentStudyRow) -> tuple[EscalationStep, ...]:
    """Return the channels that are still to be told of an unopened study, the next one first."""
    told = _told(session, row)
    return tuple(
        EscalationStep(name, row.waiting_since + timedelta(minutes=minutes))
        for name, minutes in _receivers(session, row)
        if name not in told
    )


def schedule(session: Session, row: UrgentStudyRow, *, after: datetime | None = None) -> None:
    """Write when the next channel is due, of those that are due after a moment where one is given."""
    is_waiting = row.opened_at is None and row.ended_at is None
    left = [step.at for step in steps(session, row) if after is None or step.at > after] if is_waiting else []
    row.escalate_at = min(left, default=None)


def due_at(session: Session, *, now: datetime) -> datetime | None:
    """Return when the next escalation of any study is due, None where none is; now where a clock was set back."""
    first, since = session.execute(
        select(func.min(UrgentStudyRow.escalate_at), func.max(UrgentStudyRow.waiting_since)).where(
            UrgentStudyRow.escalate_at.is_not(None)
        )
    ).one()
    return now if since is not None and since > now + _CLOCKS_DIFFER else first


def due(session: Session, *, now: datetime, limit: int = 20) -> tuple[DueEscalation, ...]:
    """Take studies that wait for too long, the longest first, and return which channels are to be told of them.

    A study that somebody else changes at this moment is left for the next time. Called in a transaction that
    writes, at whose end a study is due again only when its next channel is.
    """
    is_due = or_(UrgentStudyRow.escalate_at <= now, _waits_since_later(now))
    wanted = select(UrgentStudyRow.study_id).where(is_due)
    wanted = wanted.order_by(UrgentStudyRow.escalate_at, UrgentStudyRow.id).limit(limit)
    taken = study_locks.take_free(session, wanted)
    found: list[DueEscalation] = []
    for row in _waiting(session, UrgentStudyRow.study_id.in_(taken), is_due):
        # Nobody knows when it began to wait: it waits from now on, and no longer than its minutes.
        row.waiting_since = min(row.waiting_since, now)
        found += (_due(row, step.channel) for step in steps(session, row) if step.at <= now)
        schedule(session, row, after=now)
    return tuple(found)


def escalated(session: Session, one: DueEscalation, *, now: datetime) -> None:
    """Record that a channel is told of an unopened study: its announcement is on its way.

    Called in the transaction in which ``due`` gave it, and not where the channel knew already.
    """
    row = session.get_one(UrgentStudyRow, one.urgent_id)
    row.escalations += 1
    study = audit.study_of(session, row.study_id)
    details: dict[str, audit.Detail] = {
        "job": row.job_id,
        "revision": row.revision,
        "route": row.route,
        "priority": row.priority,
        "channel": one.channel,
        "waited_seconds": round((now - row.waiting_since).total_seconds()),
    }
    audit.record(session, "study:escalated", f"study/{study.uid}", actor=_ACTOR, now=now, details=details, study=study)


def reschedule(session: Session, *, now: datetime) -> None:
    """Write anew when each unopened study is escalated: a channel was added, changed, paused, resumed or removed.

    Studies that have waited for more than a day are left as they are. No event: that of the channel covers it.
    """
    recent = UrgentStudyRow.waiting_since >= now - _LOOKS_BACK
    waits = UrgentStudyRow.opened_at.is_(None), UrgentStudyRow.ended_at.is_(None)
    taken = study_locks.take_all(session, select(UrgentStudyRow.study_id).where(recent, *waits))
    for row in _waiting(session, UrgentStudyRow.study_id.in_(taken), recent):
        schedule(session, row)


def _waits_since_later(now: datetime) -> ColumnElement[bool]:
    """Say that a study began to wait at a moment that is still to come, by a clock that was set back since."""
    return and_(UrgentStudyRow.escalate_at.is_not(None), UrgentStudyRow.waiting_since > now + _CLOCKS_DIFFER)


def _waiting(session: Session, *conditions: ColumnElement[bool]) -> Sequence[UrgentStudyRow]:
    query = select(UrgentStudyRow).where(
        UrgentStudyRow.opened_at.is_(None), UrgentStudyRow.ended_at.is_(None), *conditions
    )
    query = query.order_by(UrgentStudyRow.escalate_at, UrgentStudyRow.id)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _due(row: UrgentStudyRow, channel: str) -> DueEscalation:
    return DueEscalation(
        row.id, row.study_id, row.job_id, row.revision, row.route, Priority(row.priority), channel=channel
    )


def _receivers(session: Session, row: UrgentStudyRow) -> list[tuple[str, int]]:
    """Return the channels that wait before they are told of such a study, with their minutes, the first one first."""
    query = (
        select(ChannelRow.name, ChannelRow.escalation_minutes, ChannelRow.priorities, ChannelRow.routes)
        .where(ChannelRow.escalation_minutes.is_not(None), ChannelRow.paused.is_(False))
        .order_by(ChannelRow.escalation_minutes, ChannelRow.name)
    )
    return [
        (name, minutes or 0)
        for name, minutes, priorities, routes in session.execute(query)
        if row.priority in priorities.split(",") and (routes is None or row.route in routes.split(","))
    ]


def _told(session: Session, row: UrgentStudyRow) -> frozenset[str]:
    """Return the channels that were told since the study waits; what a later result overtook told nobody."""
    query = select(AnnouncementRow.channel).where(
        AnnouncementRow.study_id == row.study_id,
        AnnouncementRow.level == AnnouncementLevel.ESCALATION.value,
        AnnouncementRow.state != AnnouncementState.SUPERSEDED.value,
        AnnouncementRow.opened_at >= row.waiting_since,
    )
    return frozenset(session.scalars(query))
