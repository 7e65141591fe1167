"""Announcements as they stand, for whoever lists or shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.announcing.tables import AnnouncementLevel, AnnouncementRow, AnnouncementState
from storage.cursors import number_place
from storage.domain import Priority
from storage.errors import RecordMissing
from storage.models import StudyRow


@dataclass(frozen=True, slots=True)
class ListedAnnouncement:
    """One fact on its way to one channel, as it stands.

    ``priority`` is None where a later result took it away, ``previous`` what the channel was told before. ``reached``
    says that the receiver may have got it, also where it was not acknowledged.
    """

    id: int
    key: str
    channel: str
    study_id: int
    study_instance_uid: str
    revision: int
    job_id: int | None
    level: AnnouncementLevel
    priority: Priority | None
    previous: Priority | None
    state: AnnouncementState
    attempts: int
    opened_at: datetime
    next_attempt_at: datetime
    reached: bool
    code: str | None
    reason: str | None
    announced_at: datetime | None

    @property
    def cursor(self) -> str:
        """The place behind it in lists of the newest first."""
        return str(self.id)


def listed(
    session: Session,
    *,
    state: AnnouncementState | None = None,
    channel: str | None = None,
    study_id: int | None = None,
    limit: int = 500,
    after: str | None = None,
) -> tuple[ListedAnnouncement, ...]:
    """Return announcements, newest first; ``after`` is the number of the one behind which the list goes on."""
    query = select(AnnouncementRow, StudyRow.study_instance_uid).join(StudyRow, StudyRow.id == AnnouncementRow.study_id)
    query = query.order_by(AnnouncementRow.id.desc()).limit(limit)
    if state is not None:
        query = query.where(AnnouncementRow.state == state.value)
    if channel is not None:
        query = query.where(AnnouncementRow.channel == channel)
    if study_id is not None:
        query = query.where(AnnouncementRow.study_id == study_id)
    if after is not None:
        query = query.where(AnnouncementRow.id < number_place(after))
    return tuple(_announcement(row, uid) for row, uid in session.execute(query))


def find(session: Session, announcement_id: int) -> ListedAnnouncement:
    """Return one announcement; RecordMissing where there is none of this number."""
    query = select(AnnouncementRow, StudyRow.study_instance_uid).join(StudyRow, StudyRow.id == AnnouncementRow.study_id)
    found = session.execute(query.where(AnnouncementRow.id == announcement_id)).one_or_none()
    if found is None:
        raise RecordMissing(f"there is no announcement {announcement_id}; see `oncue announcements list`")
    return _announcement(*found)


def numbers_in(session: Session, state: AnnouncementState, *, channel: str) -> tuple[int, ...]:
    """Return the numbers of a channel's announcements in a state, oldest first."""
    query = select(AnnouncementRow.id).where(AnnouncementRow.channel == channel, AnnouncementRow.state == state.value)
    return tuple(session.scalars(query.order_by(AnnouncementRow.id)))


def last_sent(session: Session) -> Mapping[str, datetime]:
    """Return when each channel took something last, by name; those that never did are left out."""
    query = select(AnnouncementRow.channel, func.max(AnnouncementRow.announced_at))
    query = query.where(AnnouncementRow.announced_at.is_not(None)).group_by(AnnouncementRow.channel)
    return {name: moment for name, moment in session.execute(query) if moment is not None}


def _announcement(row: AnnouncementRow, study_instance_uid: str) -> ListedAnnouncement:
    return ListedAnnouncement(
        id=row.id,
        key=row.key,
        channel=row.channel,
        study_id=row.study_id,
        study_instance_uid=study_instance_uid,
        revision=row.revision,
        job_id=row.job_id,
        level=AnnouncementLevel(row.level),
        priority=Priority(row.priority) if row.priority else None,
        previous=Priority(row.previous) if row.previous else None,
        state=AnnouncementState(row.state),
        attempts=row.attempts,
        opened_at=row.opened_at,
        next_attempt_at=row.next_attempt_at,
        reached=row.reached,
        code=row.code,
        reason=row.reason,
        announced_at=row.announced_at,
    )
