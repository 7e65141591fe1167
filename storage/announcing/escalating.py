"""Telling the next channel of an urgent study that nobody opened in time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from storage.announcing import channels, escalations, opening


def open_due(session: Session, *, now: datetime) -> int:
    """Open the announcements of the escalations that are due, a few at a time; return how many were looked at.

    A channel that knows already, by a change for one, is told nothing.
    """
    entries = {entry.name: entry for entry in channels.entries(session)}
    found = escalations.due(session, now=now)
    for one in found:
        if opening.escalate(session, one.study_id, entries[one.channel], now=now):
            escalations.escalated(session, one, now=now)
    return len(found)
