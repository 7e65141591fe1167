"""Marks of people that they have read what there is of a study; it leaves the worklist until something new comes."""

from __future__ import annotations

import json
from datetime import datetime

from sqlalchemy.orm import Session

from storage import audit, standing, study_locks
from storage.announcing import urgent_studies
from storage.announcing.tables import OpenedThrough
from storage.errors import IllegalTransition, RecordMissing
from storage.models import StandingRow, StudyRow


def mark_read(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Mark the results of a study as read; nothing changes where they are marked already.

    A new result, or a priority that is higher than now, puts the study back. IllegalTransition where it has none.
    """
    study = _study(session, study_id)
    row = standing.refresh(session, study_id)
    if not row.analysed:
        raise IllegalTransition(f"study {study_id} has no result yet; only a result can be marked as read")
    urgent_studies.opened(session, study_id, by=actor, through=OpenedThrough.MARK, now=now)
    if not row.unread:
        return
    row.read_at, row.read_by, row.read_rank = now, actor, row.rank
    row.read_results = json.dumps(standing.results_that_hold(session, study_id))
    standing.refresh(session, study_id)
    _record(session, study, row, "study:read-marked", actor=actor, now=now)


def mark_unread(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Take the mark of a study back, so that it is on the worklist again; nothing changes where it has none."""
    study = _study(session, study_id)
    row = standing.refresh(session, study_id)
    if row.read_at is None:
        return
    row.read_at = row.read_by = row.read_rank = row.read_results = None
    standing.refresh(session, study_id)
    _record(session, study, row, "study:read-unmarked", actor=actor, now=now)


def _study(session: Session, study_id: int) -> StudyRow:
    study = study_locks.take(session, study_id)
    if study is None:
        raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
    return study


def _record(session: Session, study: StudyRow, row: StandingRow, tag: str, *, actor: str, now: datetime) -> None:
    audit.record(
        session,
        tag,
        f"study/{study.study_instance_uid}",
        actor=actor,
        now=now,
        details={"revision": study.revision, "job": row.leading_job_id},
        study=audit.concerned(study),
    )
