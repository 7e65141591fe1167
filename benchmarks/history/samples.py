"""Random things of a filled database that questions are asked about."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.audit_tables import AuditEventRow
from storage.models import JobRow, StudyRow
from storage.study_pages import StudyList, page

PAGE = 50
"""How many entries a page of a list has."""
_STEP, _STEPS = 250, 40


@dataclass(frozen=True, slots=True)
class SampledStudy:
    """A study, its patient, and when it arrived."""

    uid: str
    patient_id: str
    job_id: int | None
    arrived_at: datetime


@dataclass(frozen=True, slots=True)
class Samples:
    """What questions are asked about. ``period`` are the first and the last event; ``longest`` has most events."""

    studies: tuple[SampledStudy, ...]
    longest: str
    period: tuple[datetime, datetime]
    deep: dict[StudyList, str]
    """Cursors far down in lists."""

    def moment(self) -> datetime:
        """Return a random time of the period."""
        first, last = self.period
        return first + (last - first) * random.random()

    def day(self) -> tuple[datetime, datetime]:
        """Return the beginning and the end of a random day."""
        begin = self.moment()
        return begin, begin + timedelta(days=1)


def take(session: Session, count: int) -> Samples:
    """Take samples of a database that was filled."""
    first, last = session.execute(select(func.min(AuditEventRow.at), func.max(AuditEventRow.at))).one()
    return Samples(
        studies=_studies(session, count),
        longest=_longest(session),
        period=(datetime.fromisoformat(first), datetime.fromisoformat(last)),
        deep={which: _deep(session, which) for which in (StudyList.WORKLIST, StudyList.ANALYSED, StudyList.ALL)},
    )


def _studies(session: Session, count: int) -> tuple[SampledStudy, ...]:
    highest = session.scalar(select(func.max(StudyRow.id))) or 0
    numbers = random.sample(range(1, highest + 1), min(count, highest))
    query = (
        select(StudyRow.study_instance_uid, StudyRow.patient_id, JobRow.id, StudyRow.opened_at)
        .outerjoin(JobRow, JobRow.study_id == StudyRow.id)
        .where(StudyRow.id.in_(numbers))
    )
    return tuple(SampledStudy(*row) for row in session.execute(query))


def _longest(session: Session) -> str:
    """Return the study with most events among those that an event in five thousand is of; it has a thousand."""
    number = func.count()
    query = select(AuditEventRow.study).where(AuditEventRow.study.is_not(None)).group_by(AuditEventRow.study)
    earliest = select(AuditEventRow.at).order_by(AuditEventRow.at).offset(20_000).limit(1).scalar_subquery()
    found = session.scalar(query.where(AuditEventRow.at < earliest).order_by(number.desc()).limit(1))
    return found or session.scalars(query.order_by(number.desc()).limit(1)).one() or ""


def _deep(session: Session, which: StudyList) -> str:
    """Return the cursor of a page far down, behind which there still is a whole page."""
    deep, after = "", None
    for _ in range(_STEPS):
        found = page(session, which, limit=_STEP, after=after)
        if len(found) < _STEP:
            break
        deep, after = found[-1 - PAGE].cursor, found[-1].cursor
    return deep
