"""The steps that an announcement may take, and the event that tells of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from storage import audit
from storage.announcing.tables import AnnouncementRow, AnnouncementState
from storage.errors import IllegalTransition

ALLOWED: Mapping[AnnouncementState, frozenset[AnnouncementState]] = {
    AnnouncementState.PENDING: frozenset(
        {AnnouncementState.SENDING, AnnouncementState.SUPERSEDED, AnnouncementState.CALLED_OFF}
    ),
    AnnouncementState.SENDING: frozenset(
        {AnnouncementState.SENT, AnnouncementState.REFUSED, AnnouncementState.PENDING}
    ),
    AnnouncementState.SENT: frozenset({AnnouncementState.PENDING}),
    AnnouncementState.REFUSED: frozenset({AnnouncementState.PENDING, AnnouncementState.CALLED_OFF}),
    AnnouncementState.SUPERSEDED: frozenset({AnnouncementState.PENDING}),
    AnnouncementState.CALLED_OFF: frozenset({AnnouncementState.PENDING}),
}
"""SENT, REFUSED and CALLED_OFF are left where a person asks for it, SUPERSEDED where the very same fact holds again."""

ACTOR = "announcing"


def step(row: AnnouncementRow, state: AnnouncementState) -> None:
    """Take a step; IllegalTransition where the table does not hold it."""
    if state not in ALLOWED[AnnouncementState(row.state)]:
        raise IllegalTransition(f"announcement {row.id} cannot go from {row.state} to {state}")
    row.state = state.value


def record(
    session: Session,
    row: AnnouncementRow,
    verb: str,
    *,
    now: datetime,
    actor: str = ACTOR,
    details: Mapping[str, audit.Detail] | None = None,
) -> None:
    """Write the event of a step into the history of the study."""
    study = audit.study_of(session, row.study_id)
    context = {
        "announcement": row.id,
        "channel": row.channel,
        "level": row.level,
        "priority": row.priority or "none",
        "previous": row.previous,
        "revision": row.revision,
        "job": row.job_id,
        **(details or {}),
    }
    tag = f"announcement:{verb}"
    audit.record(session, tag, f"study/{study.uid}", actor=actor, now=now, details=context, study=study)
