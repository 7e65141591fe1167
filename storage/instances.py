"""Rows of received instances: each version of one is kept, and one of them is current."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import ColumnElement, Table, select, update
from sqlalchemy.orm import Session

from storage.domain import StoredInstance
from storage.models import InstanceRow, StudyRow

_INSTANCES = cast("Table", InstanceRow.__table__)


def same_uid(study_id: int, instance: StoredInstance) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of one instance: its series is part of what it is, for archives copy UIDs into others."""
    return (
        InstanceRow.study_id == study_id,
        InstanceRow.series_instance_uid == instance.series_instance_uid,
        InstanceRow.sop_instance_uid == instance.sop_instance_uid,
    )


def versions(session: Session, study_id: int, instance: StoredInstance) -> dict[str, bool]:
    """Return the contents that were received under the UID of an instance, and whether each is the current one."""
    query = select(InstanceRow.content_sha256, InstanceRow.current).where(*same_uid(study_id, instance))
    return dict(session.execute(query).all())


def is_deleted(session: Session, study_id: int, instance: StoredInstance) -> bool:
    """Say whether retention deleted the file of this very version of an instance."""
    query = select(InstanceRow.id).where(*_this_version(study_id, instance), InstanceRow.deleted_at.is_not(None))
    return session.scalar(query.limit(1)) is not None


def came_again(session: Session, study: StudyRow, instance: StoredInstance, *, calling_aet: str, now: datetime) -> None:
    """Note that a version is there again that retention had deleted; it keeps its place among the versions."""
    session.execute(
        update(InstanceRow)
        .where(*_this_version(study.id, instance))
        .values(
            digest=instance.digest,
            size_bytes=instance.size_bytes,
            revision=study.revision,
            calling_aet=calling_aet,
            received_at=now,
            deleted_at=None,
        )
    )


def came_before_current(
    session: Session, study_id: int, instance: StoredInstance, *, received_at: datetime, now: datetime
) -> bool:
    """Say whether the current version of an instance was received after a moment.

    It was not where it lies ahead of ``now``: then the clock was set back since, and times say nothing.
    """
    is_newer = (InstanceRow.received_at > received_at, InstanceRow.received_at <= now)
    query = select(InstanceRow.id).where(*same_uid(study_id, instance), InstanceRow.current, *is_newer)
    return session.scalar(query.limit(1)) is not None


def set_aside(session: Session, study: StudyRow, instance: StoredInstance) -> None:
    """Make no version of an instance the current one, for another takes their place."""
    session.execute(update(InstanceRow).where(*same_uid(study.id, instance)).values(current=False))


def restore(session: Session, study: StudyRow, instance: StoredInstance) -> None:
    """Make an earlier version current again, as when a correction is taken back."""
    session.execute(
        update(InstanceRow).where(*_this_version(study.id, instance)).values(current=True, revision=study.revision)
    )


def known(session: Session, study_id: int, found: Collection[StoredInstance]) -> set[tuple[str, str]]:
    """Return which of some instances of a study have a row in any version, each as series and SOP Instance UID."""
    uids = [instance.sop_instance_uid for instance in found]
    query = select(InstanceRow.series_instance_uid, InstanceRow.sop_instance_uid)
    query = query.where(InstanceRow.study_id == study_id, InstanceRow.sop_instance_uid.in_(uids))
    return {(series_uid, uid) for series_uid, uid in session.execute(query)}


def row_of(study: StudyRow, instance: StoredInstance, *, calling_aet: str, received_at: datetime) -> dict[str, object]:
    """Return the row of an instance that is the current one from now on."""
    return {
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
        "calling_aet": calling_aet,
        "received_at": received_at,
        "current": True,
    }


def add(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows of instances."""
    session.execute(_INSTANCES.insert(), rows)


def _this_version(study_id: int, instance: StoredInstance) -> tuple[ColumnElement[bool], ...]:
    return (*same_uid(study_id, instance), InstanceRow.content_sha256 == instance.content_sha256)
