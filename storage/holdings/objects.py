"""The objects that oncue holds: received instances and what it wrote, as long as their files are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from storage.holdings.tables import ObjectHeaderRow
from storage.models import InstanceRow, StudyRow
from storage.result_tables import AnalysisRow, ResultObjectRow


@dataclass(frozen=True, slots=True)
class HeldObject:
    """One stored object: which one it is, and where it lies; ``written`` says that oncue wrote it."""

    study_id: int
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    digest: str
    size_bytes: int
    written: bool


def of_study(session: Session, study_instance_uid: str, series_instance_uid: str | None = None) -> list[HeldObject]:
    """Return the objects of a study, or of one series of it: received ones first, by series and instance.

    Only the current content of an instance counts; results with a flaw, or that a later one supersedes, are left out.
    """
    received, written = _received(study_instance_uid), _written(study_instance_uid)
    written = written.where(ResultObjectRow.flaw.is_(None), AnalysisRow.superseded_at.is_(None))
    if series_instance_uid is not None:
        received = received.where(InstanceRow.series_instance_uid == series_instance_uid)
        written = written.where(ResultObjectRow.series_instance_uid == series_instance_uid)
    found = [*_objects(session, received, written=False), *_objects(session, written, written=True)]
    return sorted(found, key=lambda one: (one.written, one.series_instance_uid, one.sop_instance_uid))


def find(session: Session, study_instance_uid: str, sop_instance_uid: str) -> HeldObject | None:
    """Return one object of a study by its UID, a superseded one too; None where there is none, or its file is gone."""
    received = _received(study_instance_uid).where(InstanceRow.sop_instance_uid == sop_instance_uid)
    written = _written(study_instance_uid).where(
        ResultObjectRow.sop_instance_uid == sop_instance_uid, ResultObjectRow.flaw.is_(None)
    )
    found = (*_objects(session, received, written=False), *_objects(session, written, written=True))
    return next(iter(found), None)


def studies_of_patient(session: Session, patient_id: str) -> tuple[str, ...]:
    """Return the UIDs of the studies of a Patient ID, by UID."""
    query = select(StudyRow.study_instance_uid).where(StudyRow.patient_id == patient_id)
    return tuple(session.scalars(query.order_by(StudyRow.study_instance_uid)))


def named(session: Session, sop_instance_uid: str) -> tuple[HeldObject, ...]:
    """Return the objects of a SOP Instance UID whatever their study, once their headers were read."""
    query = (
        select(StudyRow.study_instance_uid)
        .join(ObjectHeaderRow, ObjectHeaderRow.study_id == StudyRow.id)
        .where(ObjectHeaderRow.sop_instance_uid == sop_instance_uid)
        .distinct()
    )
    found = (find(session, uid, sop_instance_uid) for uid in session.scalars(query))
    return tuple(one for one in found if one is not None)


def _received(study_instance_uid: str) -> Select[InstanceRow]:
    return (
        select(InstanceRow)
        .join(StudyRow, StudyRow.id == InstanceRow.study_id)
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.current, InstanceRow.deleted_at.is_(None))
    )


def _written(study_instance_uid: str) -> Select[ResultObjectRow]:
    return (
        select(ResultObjectRow)
        .join(StudyRow, StudyRow.id == ResultObjectRow.study_id)
        .outerjoin(AnalysisRow, AnalysisRow.job_id == ResultObjectRow.job_id)
        .where(StudyRow.study_instance_uid == study_instance_uid, ResultObjectRow.deleted_at.is_(None))
    )


def _objects(
    session: Session, query: Select[InstanceRow] | Select[ResultObjectRow], *, written: bool
) -> Iterator[HeldObject]:
    for row, uid in session.execute(query.add_columns(StudyRow.study_instance_uid)):
        yield HeldObject(
            row.study_id,
            uid,
            row.series_instance_uid,
            row.sop_instance_uid,
            row.sop_class_uid,
            row.transfer_syntax_uid,
            row.digest,
            row.size_bytes,
            written,
        )
