"""Whether we vouch for an instance: it is on record with its SOP class, and its file lies in the object store.

Which studies hold an instance that nobody names the study of, the index of headers tells; a study that it has not read
yet is looked at itself. The digest of a file is not worked out here: `oncue doctor` does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from storage.commitment.references import Failure, FailureReason, Reference
from storage.database import Database
from storage.holdings import headers
from storage.holdings.tables import ObjectHeaderRow
from storage.models import InstanceRow
from storage.objects import ObjectStore
from storage.result_tables import ResultObjectRow

_ASKED_AT_ONCE = 500
_MOST_UNREAD_STUDIES = 500


@dataclass(frozen=True, slots=True)
class Judgement:
    """For which instances we do not vouch. ``unknown`` are those of them that may be on record in a moment."""

    failures: tuple[Failure, ...]
    unknown: int


@dataclass(frozen=True, slots=True)
class _Version:
    """One content of an instance that is on record."""

    sop_class_uid: str
    digest: str
    size_bytes: int
    is_deleted: bool


def judge(database: Database, objects: ObjectStore, references: Sequence[Reference]) -> Judgement:
    """Say for which of some instances we do not vouch, and why.

    Any version of an instance counts, current or not, received or written by us. An instance that is not on record
    while more studies wait to be read than are looked at may be among those: Processing failure, and not that there is
    no such object.
    """
    failures: list[Failure] = []
    unknown = 0
    for at in range(0, len(references), _ASKED_AT_ONCE):
        some = references[at : at + _ASKED_AT_ONCE]
        with database.read() as session:
            versions, all_read = _versions(session, [one.sop_instance_uid for one in some])
        for reference in some:
            known = versions.get(reference.sop_instance_uid)
            reason = _reason(objects, reference, known or [], all_read=all_read)
            if reason is not None:
                failures.append(Failure(reference, reason))
                unknown += known is None
    return Judgement(tuple(failures), unknown)


def _reason(
    objects: ObjectStore, reference: Reference, versions: Sequence[_Version], *, all_read: bool
) -> FailureReason | None:
    if not versions:
        return FailureReason.NO_SUCH_OBJECT if all_read else FailureReason.PROCESSING_FAILURE
    of_class = [one for one in versions if one.sop_class_uid == reference.sop_class_uid]
    if not of_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    if any(not one.is_deleted and objects.size(one.digest) == one.size_bytes for one in of_class):
        return None
    return FailureReason.NO_SUCH_OBJECT


def _versions(session: Session, uids: Sequence[str]) -> tuple[dict[str, list[_Version]], bool]:
    """Return the versions of instances by UID, and whether every study was looked at that may hold others."""
    found: dict[str, list[_Version]] = {}
    for query in (_indexed(uids), _written(uids)):
        _collect(session, query, found)
    missing = [uid for uid in uids if uid not in found]
    if not missing:
        return found, True
    unread = list(headers.due_studies(session, limit=_MOST_UNREAD_STUDIES + 1))
    looked_at = unread[:_MOST_UNREAD_STUDIES]
    if looked_at:
        received = InstanceRow.study_id.in_(looked_at) & InstanceRow.sop_instance_uid.in_(missing)
        _collect(session, _received().where(received), found)
    return found, len(unread) <= _MOST_UNREAD_STUDIES


_Versions = Select[str, str, str, int, bool]


def _collect(session: Session, query: _Versions, found: dict[str, list[_Version]]) -> None:
    for uid, sop_class_uid, digest, size_bytes, is_deleted in session.execute(query):
        found.setdefault(uid, []).append(_Version(sop_class_uid, digest, size_bytes, is_deleted))


def _received() -> _Versions:
    row = InstanceRow
    return select(
        row.sop_instance_uid, row.sop_class_uid, row.digest, row.size_bytes, row.deleted_at.is_not(None).label("gone")
    )


def _indexed(uids: Sequence[str]) -> _Versions:
    places = select(ObjectHeaderRow.study_id, ObjectHeaderRow.sop_instance_uid).where(
        ObjectHeaderRow.sop_instance_uid.in_(uids)
    )
    return _received().where(tuple_(InstanceRow.study_id, InstanceRow.sop_instance_uid).in_(places))


def _written(uids: Sequence[str]) -> _Versions:
    row = ResultObjectRow
    return select(
        row.sop_instance_uid, row.sop_class_uid, row.digest, row.size_bytes, row.deleted_at.is_not(None).label("gone")
    ).where(row.sop_instance_uid.in_(uids), row.flaw.is_(None))
