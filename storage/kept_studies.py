"""Studies that people keep: no rule of retention deletes anything of them until somebody lets them go."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, study_locks
from storage.deletion_tables import KeptStudyRow
from storage.errors import RecordExists, RecordMissing
from storage.models import StudyRow


@dataclass(frozen=True, slots=True)
class KeptStudy:
    """Who keeps a study, why, and since when."""

    study_id: int
    kept_by: str
    reason: str
    kept_at: datetime


def keep(session: Session, study_id: int, *, reason: str, actor: str, now: datetime) -> None:
    """Keep everything that there is of a study. RecordMissing, and RecordExists where somebody keeps it already."""
    study = _taken(session, study_id)
    known = session.get(KeptStudyRow, study_id, populate_existing=True)
    if known is not None:
        raise RecordExists(f"study {study_id} is kept by {known.kept_by} already, since {known.kept_at:%Y-%m-%d}")
    session.add(KeptStudyRow(study_id=study_id, kept_by=actor, reason=reason, kept_at=now))
    _record(session, study, "study:kept", actor=actor, now=now)


def let_go(session: Session, study_id: int, *, actor: str, now: datetime) -> None:
    """Let the rules have a study again; RecordMissing where nobody keeps it."""
    study = _taken(session, study_id)
    row = session.get(KeptStudyRow, study_id, populate_existing=True)
    if row is None:
        raise RecordMissing(f"nobody keeps study {study_id}")
    session.delete(row)
    _record(session, study, "study:let-go", actor=actor, now=now)


def of_studies(session: Session, ids: Collection[int]) -> dict[int, KeptStudy]:
    """Return who keeps which of some studies."""
    query = select(KeptStudyRow).where(KeptStudyRow.study_id.in_(ids))
    return {
        row.study_id: KeptStudy(row.study_id, row.kept_by, row.reason, row.kept_at) for row in session.scalars(query)
    }


def _taken(session: Session, study_id: int) -> StudyRow:
    study = study_locks.take(session, study_id)
    if study is None:
        raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
    return study


def _record(session: Session, study: StudyRow, tag: str, *, actor: str, now: datetime) -> None:
    # The reason may name a patient: it stays in the row, and out of the audit trail.
    uid = study.study_instance_uid
    audit.record(session, tag, f"study/{uid}", actor=actor, now=now, study=audit.concerned(study))
