"""How fast the object store grows, and when its disk will be full at that rate; worked out from rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from storage.deletion_tables import AnalysisFileRow, StudyDeletionRow
from storage.domain import Holding
from storage.models import JobRow, StandingRow
from storage.result_tables import ResultObjectRow

LOOKED_BACK = timedelta(days=7)
_SHORTEST = timedelta(days=1)
_LONGEST = timedelta(days=365 * 50)


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a day, on average over the last days: received, written for what was received, and deleted by rules."""

    days: float
    received: float
    written: float
    deleted: float

    @property
    def net(self) -> float:
        """By how much the store grows in a day; below 0 where more goes than comes."""
        return self.received + self.written - self.deleted

    def full_at(self, free_bytes: float, *, now: datetime) -> datetime | None:
        """Return when so much space is used up; None where that is never, or not within fifty years."""
        if self.net <= 0:
            return None
        left = free_bytes / self.net
        return now + timedelta(days=left) if left < _LONGEST.days else None


def growth(session: Session, *, now: datetime) -> Growth:
    """Return how the store grew over the last week, or since the first study came, by the studies that are complete.

    A study counts on the day of its last image, with its earlier images too.
    """
    first = session.scalar(select(func.min(StandingRow.arrived_at)).where(StandingRow.complete.expression))
    span = min(LOOKED_BACK, max(now - first, _SHORTEST)) if first is not None else LOOKED_BACK
    since, days = now - span, span / timedelta(days=1)
    lately = (StandingRow.complete.expression, StandingRow.arrived_at >= since)
    gone = select(func.sum(StudyDeletionRow.size_bytes))
    images_gone = gone.join(StandingRow, StandingRow.study_id == StudyDeletionRow.study_id).where(*lately)
    received = _sum(session, select(func.sum(StandingRow.image_bytes)).where(*lately))
    received += _sum(session, images_gone.where(StudyDeletionRow.kind == Holding.IMAGES.value))
    written = _written(session, lately)
    deleted = _sum(session, gone.where(StudyDeletionRow.deleted_at >= since))
    return Growth(days, received / days, written / days, deleted / days)


def _written(session: Session, lately: tuple[ColumnElement[bool], ...]) -> int:
    """Return the bytes of the files that were written for some studies, deleted ones too."""
    files = select(func.sum(AnalysisFileRow.size_bytes)).select_from(StandingRow)
    files = files.join(JobRow, JobRow.study_id == StandingRow.study_id)
    files = files.join(AnalysisFileRow, AnalysisFileRow.job_id == JobRow.id)
    objects = select(func.sum(ResultObjectRow.size_bytes)).select_from(StandingRow)
    objects = objects.join(ResultObjectRow, ResultObjectRow.study_id == StandingRow.study_id)
    return _sum(session, files.where(*lately)) + _sum(session, objects.where(*lately))


def _sum(session: Session, query: Select[int | None]) -> int:
    return int(session.scalar(query) or 0)
