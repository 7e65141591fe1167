"""Which urgent studies nobody has opened yet, and what became of those of one study; nothing is changed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from storage.announcing import escalations
from storage.announcing.escalations import EscalationStep
from storage.announcing.tables import OpenedThrough, UrgentStudyRow
from storage.domain import Priority
from storage.models import StudyRow

_RANK = case({priority.value: priority.rank for priority in Priority}, value=UrgentStudyRow.priority)


@dataclass(frozen=True, slots=True)
class UrgentStudy:
    """One time that a result made a study urgent, with the chain of what became of it.

    ``study_id`` is our own number, safe to use in addresses. ``arrived_at`` is the study's last image,
    ``waiting_since`` when it became urgent without anybody having opened it since, ``announced_by`` the channel that
    was first to take it. ``next_steps`` are the channels that are still to be told, the next one first; empty where
    nobody waits any more. What did not happen is None.
    """

    id: int
    study_id: int
    study_instance_uid: str
    job_id: int
    revision: int
    route: str
    priority: Priority
    arrived_at: datetime
    analysed_at: datetime
    waiting_since: datetime
    announced_at: datetime | None
    announced_by: str | None
    opened_at: datetime | None
    opened_by: str | None
    opened_through: OpenedThrough | None
    ended_at: datetime | None
    escalations: int
    next_steps: tuple[EscalationStep, ...]
    patient_id: str
    accession_number: str
    study_description: str

    @property
    def is_waiting(self) -> bool:
        """Whether somebody is still to open it."""
        return self.opened_at is None and self.ended_at is None

    @property
    def next_step(self) -> EscalationStep | None:
        """The channel that is told next where nobody opens it."""
        return next(iter(self.next_steps), None)

    def waited_seconds(self, now: datetime) -> float:
        """Return for how long it has lain unopened, or lay until it was opened or ended; never less than 0.

        Processes on machines whose clocks differ write the moments.
        """
        until = self.opened_at or self.ended_at or now
        return max(0.0, (until - self.waiting_since).total_seconds())


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many urgent studies nobody has opened, and since when the first of them waits; None where there is none."""

    count: int
    since: datetime | None


def pending(session: Session, *, priority: Priority | None = None, limit: int = 500) -> tuple[UrgentStudy, ...]:
    """Return the urgent studies that nobody has opened, STAT before HIGH, and those first that wait for longest."""
    query = (
        select(UrgentStudyRow, StudyRow)
        .join(StudyRow, StudyRow.id == UrgentStudyRow.study_id)
        .where(*_unopened(priority))
        .order_by(_RANK, UrgentStudyRow.waiting_since, UrgentStudyRow.id)
        .limit(limit)
    )
    return tuple(_urgent(session, row, study) for row, study in session.execute(query))


def waiting(session: Session, *, priority: Priority | None = None, before: datetime | None = None) -> Waiting:
    """Count the urgent studies that nobody has opened, all of them or those that wait since before a moment."""
    query = select(func.count(), func.min(UrgentStudyRow.waiting_since)).where(*_unopened(priority))
    if before is not None:
        query = query.where(UrgentStudyRow.waiting_since < before)
    return Waiting(*session.execute(query).one())


def of_study(session: Session, study_id: int) -> tuple[UrgentStudy, ...]:
    """Return every time that a study became urgent, the one that stands first, then the newest."""
    query = (
        select(UrgentStudyRow, StudyRow)
        .join(StudyRow, StudyRow.id == UrgentStudyRow.study_id)
        .where(UrgentStudyRow.study_id == study_id)
        .order_by(UrgentStudyRow.ended_at.is_not(None), UrgentStudyRow.id.desc())
    )
    return tuple(_urgent(session, row, study) for row, study in session.execute(query))


def _unopened(priority: Priority | None) -> Sequence[ColumnElement[bool]]:
    wanted = [UrgentStudyRow.opened_at.is_(None), UrgentStudyRow.ended_at.is_(None)]
    return [*wanted, UrgentStudyRow.priority == priority.value] if priority else wanted


def _next_steps(session: Session, row: UrgentStudyRow) -> tuple[EscalationStep, ...]:
    due = row.escalate_at
    return () if due is None else tuple(step for step in escalations.steps(session, row) if step.at >= due)


def _urgent(session: Session, row: UrgentStudyRow, study: StudyRow) -> UrgentStudy:
    return UrgentStudy(
        id=row.id,
        study_id=study.id,
        study_instance_uid=study.study_instance_uid,
        job_id=row.job_id,
        revision=row.revision,
        route=row.route,
        priority=Priority(row.priority),
        arrived_at=row.arrived_at,
        analysed_at=row.analysed_at,
        waiting_since=row.waiting_since,
        announced_at=row.announced_at,
        announced_by=row.announced_by,
        opened_at=row.opened_at,
        opened_by=row.opened_by,
        opened_through=OpenedThrough(row.opened_through) if row.opened_through else None,
        ended_at=row.ended_at,
        escalations=row.escalations,
        next_steps=_next_steps(session, row),
        patient_id=study.patient_id,
        accession_number=study.accession_number,
        study_description=study.study_description,
    )
