"""Rows of DICOM objects that were written: of a job's analysis, or as the notice of a study that was not analysed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from storage import audit, standing
from storage.domain import ObjectKind
from storage.holdings import noting
from storage.models import StudyRow
from storage.result_tables import ResultObjectRow


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """One DICOM object that lies in the object store under ``digest``, ready to be sent.

    ``flaw`` says what a check found wrong with it: such a one is kept and never sent.
    """

    kind: ObjectKind
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    size_bytes: int
    flaw: str | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What an object was written for: a job or a notice, of one study."""

    study_id: int
    job_id: int | None = None
    notice_id: int | None = None


def add(session: Session, item: WrittenObject, origin: Origin, *, actor: str, now: datetime) -> ResultObjectRow:
    """Record an object that was written; the caller has taken the study."""
    row = ResultObjectRow(
        study_id=origin.study_id,
        job_id=origin.job_id,
        notice_id=origin.notice_id,
        kind=item.kind.value,
        sop_instance_uid=item.sop_instance_uid,
        sop_class_uid=item.sop_class_uid,
        series_instance_uid=item.series_instance_uid,
        transfer_syntax_uid=item.transfer_syntax_uid,
        digest=item.digest,
        size_bytes=item.size_bytes,
        written_at=now,
        flaw=item.flaw,
    )
    session.add(row)
    session.flush()
    standing.note_written(session, origin.study_id)
    _note_held(session, row)
    audit.record(
        session,
        "object:written",
        f"instance/{item.sop_instance_uid}",
        actor=actor,
        now=now,
        details={
            "job": origin.job_id,
            "series": item.series_instance_uid,
            "kind": item.kind.value,
            "digest": item.digest,
            "bytes": item.size_bytes,
            **({"notice": origin.notice_id} if origin.notice_id is not None else {}),
        },
        study=audit.study_of(session, origin.study_id),
    )
    return row


def _note_held(session: Session, row: ResultObjectRow) -> None:
    if row.flaw is None:
        study = session.get_one(StudyRow, row.study_id)
        noting.note_written(session, study, row.series_instance_uid)


def written_object(row: ResultObjectRow) -> WrittenObject:
    """Return the plain form of a written object's row."""
    return WrittenObject(
        kind=ObjectKind(row.kind),
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_instance_uid=row.series_instance_uid,
        transfer_syntax_uid=row.transfer_syntax_uid,
        digest=row.digest,
        size_bytes=row.size_bytes,
        flaw=row.flaw,
    )
