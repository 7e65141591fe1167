"""Studies as they arrive: register an instance once, know when a study is complete, reopen it for a late image."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import cast

from sqlalchemy import Table, func, select, update
from sqlalchemy.orm import Session

from storage import associations, audit, jobs
from storage.domain import Lane, StoredInstance
from storage.errors import RecordMissing
from storage.models import AssociationRow, InstanceRow, StudyRow

_INSTANCES = cast("Table", InstanceRow.__table__)


class Registration(StrEnum):
    """What a received instance turned out to be."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What the worklist shows of a study; patient data, so it never leaves the database and the pages."""

    patient_id: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_description: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent an instance, over which association, into which lane."""

    calling_aet: str
    association_id: str | None
    lane: Lane = Lane.ROUTINE


def register_instance(
    session: Session, instance: StoredInstance, facts: StudyFacts, *, origin: Origin, now: datetime
) -> Registration:
    """Write the row of an instance whose bytes are already durable.

    The same UID with the same content is a DUPLICATE and changes nothing; with other content both are kept and the
    newer one is current. A new or changed instance of a closed study opens the study's next revision.
    """
    audit.lock(session)
    study = _study(session, instance.study_instance_uid, facts, origin=origin, now=now)
    if origin.association_id is not None:
        _mark_sending(session, origin.association_id, study.id)
    same_uid = (InstanceRow.study_id == study.id, InstanceRow.sop_instance_uid == instance.sop_instance_uid)
    known = session.scalars(select(InstanceRow.content_sha256).where(*same_uid)).all()
    if instance.content_sha256 in known:
        return Registration.DUPLICATE
    if known:
        session.execute(update(InstanceRow).where(*same_uid).values(current=False))
    if study.closed_at is not None:
        _reopen(session, study, actor=origin.calling_aet, now=now)
    outcome = Registration.CHANGED if known else Registration.NEW
    _add_instance(session, study, instance, origin=origin, outcome=outcome, now=now)
    study.last_instance_at = now
    return outcome


def quiet(session: Session, *, quiet_seconds: float, now: datetime) -> tuple[int, ...]:
    """Return the studies that nothing arrived for lately and that no open association is still sending."""
    query = select(StudyRow.id).where(
        StudyRow.closed_at.is_(None),
        StudyRow.last_instance_at <= now - timedelta(seconds=quiet_seconds),
        ~associations.still_sending(now),
    )
    return tuple(session.scalars(query.order_by(StudyRow.last_instance_at)))


def seconds_until_quiet(session: Session, *, quiet_seconds: float, now: datetime) -> float | None:
    """Return in how many seconds the next open study goes quiet if nothing more arrives for it; None where none will.

    Studies that are quiet by now are left out, those that an open association holds back among them.
    """
    quiet_before = now - timedelta(seconds=quiet_seconds)
    first = session.scalar(
        select(func.min(StudyRow.last_instance_at)).where(
            StudyRow.closed_at.is_(None), StudyRow.last_instance_at > quiet_before
        )
    )
    return None if first is None else (first - quiet_before).total_seconds()


def close(session: Session, study_id: int, *, quiet_seconds: float, now: datetime) -> int | None:
    """Close a study that is still quiet and open its job; return the job's id, or None where an image came between."""
    audit.lock(session)
    if study_id not in quiet(session, quiet_seconds=quiet_seconds, now=now):
        return None
    study = session.get_one(StudyRow, study_id)
    study.closed_at = now
    instances = session.scalar(select(func.count()).where(InstanceRow.study_id == study_id, InstanceRow.current)) or 0
    audit.record(
        session,
        "study:closed",
        f"study/{study.study_instance_uid}",
        actor="assembly",
        now=now,
        details={"revision": study.revision, "instances": instances},
    )
    return jobs.open_job(session, study_id, study.revision, lane=Lane(study.lane), now=now)


def instances_of(session: Session, study_id: int) -> tuple[StoredInstance, ...]:
    """Return the current instances of a study, in the order in which they arrived."""
    uid = session.scalar(select(StudyRow.study_instance_uid).where(StudyRow.id == study_id))
    if uid is None:
        raise RecordMissing(f"there is no study {study_id}")
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


def refused_instance(
    session: Session, *, calling_aet: str, sop_instance_uid: str, code: str, status: int, now: datetime
) -> None:
    """Record that an instance was not accepted, and with which status the sender was told."""
    audit.record(
        session,
        "instance:refused",
        f"instance/{sop_instance_uid}",
        actor=calling_aet,
        now=now,
        details={"code": code, "status": f"0x{status:04X}"},
    )


def _study(session: Session, uid: str, facts: StudyFacts, *, origin: Origin, now: datetime) -> StudyRow:
    study = session.scalar(select(StudyRow).where(StudyRow.study_instance_uid == uid))
    if study is not None:
        return study
    study = StudyRow(
        study_instance_uid=uid,
        revision=1,
        lane=origin.lane.value,
        opened_at=now,
        last_instance_at=now,
        closed_at=None,
        patient_id=facts.patient_id,
        accession_number=facts.accession_number,
        study_date=facts.study_date,
        study_description=facts.study_description,
    )
    session.add(study)
    session.flush()
    audit.record(
        session, "study:opened", f"study/{uid}", actor=origin.calling_aet, now=now, details={"lane": origin.lane.value}
    )
    return study


def _reopen(session: Session, study: StudyRow, *, actor: str, now: datetime) -> None:
    study.revision += 1
    study.closed_at = None
    audit.record(
        session,
        "study:reopened",
        f"study/{study.study_instance_uid}",
        actor=actor,
        now=now,
        details={"revision": study.revision},
    )
    jobs.supersede_queued(session, study.id, now=now)


def _add_instance(
    session: Session,
    study: StudyRow,
    instance: StoredInstance,
    *,
    origin: Origin,
    outcome: Registration,
    now: datetime,
) -> None:
    session.execute(
        _INSTANCES.insert(),
        {
            "study_id": study.id,
            "revision": study.revision,
            "series_instance_uid": instance.series_instance_uid,
            "sop_instance_uid": instance.sop_instance_uid,
            "sop_class_uid": instance.sop_class_uid,
            "transfer_syntax_uid": instance.transfer_syntax_uid,
            "modality": instance.modality,
            "digest": instance.digest,
            "content_sha256": instance.content_sha256,
            "size_bytes": instance.size_bytes,
            "calling_aet": origin.calling_aet,
            "received_at": now,
            "current": True,
        },
    )
    audit.record(
        session,
        "instance:stored" if outcome is Registration.NEW else "instance:changed",
        f"instance/{instance.sop_instance_uid}",
        actor=origin.calling_aet,
        now=now,
        details={
            "study": instance.study_instance_uid,
            "revision": study.revision,
            "digest": instance.digest,
            "bytes": instance.size_bytes,
        },
    )


def _mark_sending(session: Session, association_id: str, study_id: int) -> None:
    association = session.get(AssociationRow, association_id)
    if association is not None and association.study_id != study_id:
        association.study_id = study_id
