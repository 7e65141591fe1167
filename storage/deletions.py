"""What retention deleted of studies, and the errors that say so to whoever asks for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from storage.deletion_errors import ImagesDeleted, PicturesDeleted, ResultsDeleted
from storage.deletion_tables import AnalysisFileRow, StudyDeletionRow
from storage.domain import Holding
from storage.models import InstanceRow, JobRow
from storage.result_tables import AnalysisRow, ResultObjectRow


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted of a study: which kind of file, when, by which rule, who had it done, how many and how large."""

    kind: Holding
    deleted_at: datetime
    rule: str
    actor: str
    files: int
    size_bytes: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.kind} deleted on {self.deleted_at:%Y-%m-%d %H:%M} UTC by rule {self.rule}"


def of_study(session: Session, study_id: int) -> tuple[Deletion, ...]:
    """Return everything that was deleted of a study, oldest first; images may have come again since."""
    query = select(StudyDeletionRow).where(StudyDeletionRow.study_id == study_id).order_by(StudyDeletionRow.id)
    return tuple(
        Deletion(Holding(row.kind), row.deleted_at, row.rule, row.actor, row.files, row.size_bytes)
        for row in session.scalars(query)
    )


def standing(session: Session, study_id: int) -> tuple[Deletion, ...]:
    """Return the newest deletion of each kind of which something is still missing."""
    newest = {deletion.kind: deletion for deletion in of_study(session, study_id)}
    return tuple(deletion for kind, deletion in newest.items() if _lacks(session, study_id, kind))


def deleted_series(session: Session, study_id: int) -> frozenset[str]:
    """Return the series of which current images were deleted."""
    query = select(InstanceRow.series_instance_uid).distinct()
    return frozenset(session.scalars(query.where(_missing_images(study_id))))


def require_images(session: Session, study_id: int, series: Collection[str] = ()) -> None:
    """Raise ImagesDeleted where current images of a study, or of some series of it, were deleted."""
    query = select(InstanceRow.id).where(_missing_images(study_id)).limit(1)
    if series:
        query = query.where(InstanceRow.series_instance_uid.in_(series))
    if session.scalar(query) is not None:
        said = _said(session, study_id, Holding.IMAGES)
        raise ImagesDeleted(f"study {study_id}: {said}; send the study again and its images are stored again")


def require_sources(session: Session, job_id: int) -> None:
    """Raise ImagesDeleted where images were deleted that a job's result is of: its objects are written from them."""
    query = select(JobRow.study_id, AnalysisRow.series_instance_uid).join(AnalysisRow, AnalysisRow.job_id == JobRow.id)
    for study_id, series_uid in session.execute(query.where(JobRow.id == job_id)):
        require_images(session, study_id, [series_uid])


def require_results(session: Session, job_id: int) -> None:
    """Raise ResultsDeleted where objects or maps of a job's result were deleted."""
    files = _missing_files(AnalysisFileRow.job_id == job_id, Holding.RESULTS)
    written = select(ResultObjectRow.id).where(
        ResultObjectRow.job_id == job_id, ResultObjectRow.deleted_at.is_not(None)
    )
    if session.scalar(select(files.exists() | written.exists())):
        said = _said(session, _study_of(session, job_id), Holding.RESULTS)
        raise ResultsDeleted(f"job {job_id}: {said}; its numbers stay on record")


def lacks_pictures(session: Session, job_id: int) -> bool:
    """Say whether pictures of a job's result were deleted."""
    return bool(session.scalar(select(_missing_files(AnalysisFileRow.job_id == job_id, Holding.PICTURES).exists())))


def require_pictures(session: Session, job_id: int) -> None:
    """Raise PicturesDeleted where pictures of a job's result were deleted."""
    if lacks_pictures(session, job_id):
        said = _said(session, _study_of(session, job_id), Holding.PICTURES)
        raise PicturesDeleted(f"job {job_id}: {said}")


def require_object(session: Session, item: ResultObjectRow) -> None:
    """Raise ResultsDeleted where an object that oncue wrote was deleted."""
    if item.deleted_at is not None:
        said = _said(session, item.study_id, Holding.RESULTS)
        raise ResultsDeleted(f"object {item.sop_instance_uid} cannot be sent: {said}")


def _lacks(session: Session, study_id: int, kind: Holding) -> bool:
    if kind is Holding.IMAGES:
        return session.scalar(select(InstanceRow.id).where(_missing_images(study_id)).limit(1)) is not None
    missing = [_missing_files(JobRow.study_id == study_id, kind)]
    if kind is Holding.RESULTS:
        written = ResultObjectRow.study_id == study_id, ResultObjectRow.deleted_at.is_not(None)
        missing.append(select(ResultObjectRow.id).where(*written))
    return any(session.scalar(query.limit(1)) is not None for query in missing)


def _missing_images(study_id: int) -> ColumnElement[bool]:
    return (InstanceRow.study_id == study_id) & InstanceRow.current & InstanceRow.deleted_at.is_not(None)


def _missing_files(condition: ColumnElement[bool], kind: Holding) -> Select[int]:
    query = select(AnalysisFileRow.job_id).join(JobRow, JobRow.id == AnalysisFileRow.job_id)
    return query.where(condition, AnalysisFileRow.kind == kind.value, AnalysisFileRow.deleted_at.is_not(None))


def _said(session: Session, study_id: int, kind: Holding) -> str:
    """Return when and by which rule a kind was deleted last."""
    found = [deletion for deletion in of_study(session, study_id) if deletion.kind is kind]
    return str(found[-1]) if found else f"{kind} deleted"


def _study_of(session: Session, job_id: int) -> int:
    return session.scalars(select(JobRow.study_id).where(JobRow.id == job_id)).one()
