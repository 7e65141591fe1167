"""The deletion of one kind of file of one study: rows, event and outbox in one transaction, the files afterwards.

From that commit on nobody is to read the files, so it does not matter when they go: a crash leaves work, and no lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage import audit, standing, study_locks
from storage.deletion_tables import AnalysisFileRow, DiscardedObjectRow, StudyDeletionRow
from storage.domain import Holding
from storage.holdings import noting
from storage.models import InstanceRow, JobRow, StudyRow
from storage.result_tables import ResultObjectRow
from storage.retention import candidates, obstacles
from storage.retention.candidates import Target
from storage.retention.obstacles import Journals


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many files the rows of a deletion name, and how large they are together; shared ones stay for the others."""

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: Deleted) -> Deleted:
        return Deleted(self.files + other.files, self.size_bytes + other.size_bytes)


def delete(
    session: Session, study_id: int, target: Target, *, waiting: Journals, actor: str, now: datetime
) -> Deleted | None:
    """Delete what a rule is for of a study; None where it may not go any more, or somebody is busy with the study."""
    if not study_locks.take_free(session, select(StudyRow.id).where(StudyRow.id == study_id)):
        return None
    if not candidates.is_candidate(session, target, study_id, now=now):
        return None
    if obstacles.judge(session, [study_id], target.rule, waiting=waiting, now=now):
        return None
    files = _files(session, study_id, target.kind)
    _mark(session, study_id, target.kind, now=now)
    noting.note_deleted(session, study_id)
    deleted = Deleted(len(files), sum(files.values()))
    if files:
        _discard(session, study_id, files, now=now)
        _record(session, study_id, target, deleted, actor=actor, now=now)
    standing.refresh(session, study_id, recount=True)
    return deleted


def _files(session: Session, study_id: int, kind: Holding) -> dict[str, int]:
    """Return the files of a kind that a study has, with their sizes as far as they are known."""
    return {digest: size or 0 for query in _kept(study_id, kind) for digest, size in session.execute(query)}


def _kept(study_id: int, kind: Holding) -> list[Select[str, int | None]]:
    if kind is Holding.IMAGES:
        query = select(InstanceRow.digest, InstanceRow.size_bytes)
        return [query.where(InstanceRow.study_id == study_id, InstanceRow.deleted_at.is_(None))]
    files = (
        select(AnalysisFileRow.digest, AnalysisFileRow.size_bytes)
        .join(JobRow, JobRow.id == AnalysisFileRow.job_id)
        .where(JobRow.study_id == study_id, AnalysisFileRow.kind == kind.value, AnalysisFileRow.deleted_at.is_(None))
    )
    if kind is Holding.PICTURES:
        return [files]
    written = select(ResultObjectRow.digest, ResultObjectRow.size_bytes)
    return [files, written.where(ResultObjectRow.study_id == study_id, ResultObjectRow.deleted_at.is_(None))]


def _mark(session: Session, study_id: int, kind: Holding, *, now: datetime) -> None:
    """Have the rows say that their files are deleted."""
    if kind is Holding.IMAGES:
        rows = update(InstanceRow).where(InstanceRow.study_id == study_id, InstanceRow.deleted_at.is_(None))
        session.execute(rows.values(deleted_at=now))
        return
    jobs = select(JobRow.id).where(JobRow.study_id == study_id)
    files = update(AnalysisFileRow).where(AnalysisFileRow.job_id.in_(jobs), AnalysisFileRow.kind == kind.value)
    session.execute(files.where(AnalysisFileRow.deleted_at.is_(None)).values(deleted_at=now))
    if kind is Holding.RESULTS:
        written = update(ResultObjectRow).where(
            ResultObjectRow.study_id == study_id, ResultObjectRow.deleted_at.is_(None)
        )
        session.execute(written.values(deleted_at=now))


def _discard(session: Session, study_id: int, files: Mapping[str, int], *, now: datetime) -> None:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    rows = [
        {"digest": digest, "study_id": study_id, "size_bytes": size, "not_before": now}
        for digest, size in files.items()
    ]
    session.execute(insert(DiscardedObjectRow).on_conflict_do_nothing(), rows)


def _record(session: Session, study_id: int, target: Target, deleted: Deleted, *, actor: str, now: datetime) -> None:
    session.add(
        StudyDeletionRow(
            study_id=study_id,
            kind=target.kind.value,
            rule=target.rule.name,
            actor=actor,
            files=deleted.files,
            size_bytes=deleted.size_bytes,
            deleted_at=now,
        )
    )
    study = audit.study_of(session, study_id)
    audit.record(
        session,
        f"study:{target.kind}-deleted",
        f"study/{study.uid}",
        actor=actor,
        now=now,
        details={"rule": target.rule.name, "files": deleted.files, "bytes": deleted.size_bytes},
        study=study,
    )
