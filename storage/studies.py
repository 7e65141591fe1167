"""Studies of the record: their images and senders, which are complete, and asking their routes anew."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage import audit, standing, study_arrivals, study_locks
from storage.domain import StoredInstance
from storage.errors import IllegalTransition, RecordMissing
from storage.fetching import studies as fetched_studies
from storage.models import InstanceRow, StudyRow


@dataclass(frozen=True, slots=True)
class ClosedStudy:
    """A complete study: our number for it, its UID and revision, and since when it is complete."""

    id: int
    study_instance_uid: str
    revision: int
    closed_at: datetime


def reroute(session: Session, study_id: int, *, actor: str, now: datetime) -> int:
    """Open a complete study anew, so that the gateway asks the routes of today about it; return its revision.

    Routes that say of it what they said keep their jobs and results. IllegalTransition while it is still arriving.
    """
    study = study_locks.take(session, study_id)
    if study is None:
        raise RecordMissing(f"there is no study {study_id}; see `oncue studies list`")
    if study.closed_at is None:
        raise IllegalTransition(f"study {study_id} is still arriving; its routes are asked when it is complete")
    study.revision += 1
    study.closed_at = None
    fetched_studies.want_for_itself(session, study.study_instance_uid, actor=actor, now=now)
    study_arrivals.let_go(session, study, now=now)
    audit.record(
        session,
        "study:rerouted",
        f"study/{study.study_instance_uid}",
        actor=actor,
        now=now,
        details={"revision": study.revision},
        study=audit.concerned(study),
    )
    standing.refresh(session, study_id)
    return study.revision


def closed_since(session: Session, moment: datetime) -> tuple[ClosedStudy, ...]:
    """Return the studies whose newest revision closed at a moment or later and is complete, oldest first."""
    query = select(StudyRow).where(StudyRow.closed_at >= moment).order_by(StudyRow.closed_at, StudyRow.id)
    return tuple(
        ClosedStudy(row.id, row.study_instance_uid, row.revision, row.closed_at)
        for row in session.scalars(query)
        if row.closed_at is not None
    )


def senders_of(session: Session, study_id: int) -> dict[str, frozenset[str]]:
    """Return who sent the current instances of each series of a study, by Series Instance UID."""
    query = select(InstanceRow.series_instance_uid, InstanceRow.calling_aet).distinct()
    found: dict[str, set[str]] = {}
    for uid, calling_aet in session.execute(query.where(InstanceRow.study_id == study_id, InstanceRow.current)):
        found.setdefault(uid, set()).add(calling_aet)
    return {uid: frozenset(titles) for uid, titles in found.items()}


def uid_of(session: Session, study_id: int) -> str:
    """Return the Study Instance UID of a study; RecordMissing where there is none."""
    uid = session.scalar(select(StudyRow.study_instance_uid).where(StudyRow.id == study_id))
    if uid is None:
        raise RecordMissing(f"there is no study {study_id}")
    return uid


def instances_of(session: Session, study_id: int) -> tuple[StoredInstance, ...]:
    """Return the current instances of a study, in the order in which they arrived."""
    uid = uid_of(session, study_id)
    query = select(InstanceRow).where(InstanceRow.study_id == study_id, InstanceRow.current).order_by(InstanceRow.id)
    return tuple(
        StoredInstance(
            study_instance_uid=uid,
            series_instance_uid=row.series_instance_uid,
            sop_instance_uid=row.sop_instance_uid,
            sop_class_uid=row.sop_class_uid,
            transfer_syntax_uid=row.transfer_syntax_uid,
            modality=row.modality,
            digest=row.digest,
            content_sha256=row.content_sha256,
            size_bytes=row.size_bytes,
        )
        for row in session.scalars(query)
    )
