"""The files of deleted rows leave the object store, unless another row refers to the same bytes.

A file is first taken out of its place, then everything is asked once more, and only then it goes: whoever stores the
same bytes in that moment either has renewed the file's time, which brings it back, or finds none and writes it anew.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from storage.database import Database
from storage.deletion_tables import AnalysisFileRow, DiscardedObjectRow
from storage.fewshot.tables import ClassificationItemRow
from storage.models import InstanceRow
from storage.objects import ObjectStore, sync_folder
from storage.result_tables import ResultObjectRow
from storage.retention.deleting import Deleted

IN_USE = timedelta(hours=1)
"""A file that was stored, or stored again, within this time may be about to get a row."""

AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Freed:
    """How many files went, how large they were, and how many of the list stay for others or for now."""

    files: int = 0
    size_bytes: int = 0
    stayed: int = 0

    def __add__(self, other: Freed) -> Freed:
        return Freed(self.files + other.files, self.size_bytes + other.size_bytes, self.stayed + other.stayed)


@dataclass(frozen=True, slots=True)
class _Listed:
    digest: str
    study_id: int


def discard(database: Database, objects: ObjectStore, *, now: datetime, limit: int = AT_ONCE) -> Freed:
    """Delete the files that are on the list and due, ``limit`` at most; files that a crash left are among them."""
    with database.read() as session:
        listed = _due(session, now=now, limit=limit)
        shared = _referred_to(session, listed)
    withdrawn: dict[str, os.stat_result] = {}
    for item in listed:
        if item.digest in shared:
            objects.put_back(item.digest)  # a crash may have left it out of its place
        elif (state := objects.withdraw(item.digest)) is not None:
            withdrawn[item.digest] = state
    with database.read() as session:
        shared |= _referred_to(session, [item for item in listed if item.digest in withdrawn])
    used = {digest for digest, state in withdrawn.items() if _time(state) > now - IN_USE}
    gone = withdrawn.keys() - shared - used
    for digest in withdrawn:
        (objects.remove_withdrawn if digest in gone else objects.put_back)(digest)
    _make_durable(objects, withdrawn)
    with database.write() as session:
        _strike(session, [item.digest for item in listed if item.digest not in used - shared])
        for digest in used - shared:
            _put_off(session, digest, until=_time(withdrawn[digest]) + IN_USE)
    return Freed(len(gone), sum(withdrawn[digest].st_size for digest in gone), len(listed) - len(gone))


def waiting(session: Session) -> Deleted:
    """Return how many files are on the list, and how large they are."""
    query = select(func.count(), func.sum(DiscardedObjectRow.size_bytes)).select_from(DiscardedObjectRow)
    files, size_bytes = session.execute(query).one()
    return Deleted(files, int(size_bytes or 0))


def _due(session: Session, *, now: datetime, limit: int) -> list[_Listed]:
    query = select(DiscardedObjectRow.digest, DiscardedObjectRow.study_id).where(DiscardedObjectRow.not_before <= now)
    return [_Listed(*row) for row in session.execute(query.order_by(DiscardedObjectRow.not_before).limit(limit))]


def _referred_to(session: Session, listed: Sequence[_Listed]) -> set[str]:
    """Return which digests a row still refers to whose file is not deleted.

    The bytes of an instance hold its study, so only that study's rows can be of the same ones. Maps and pictures may be
    the same in several.
    """
    digests = [item.digest for item in listed]
    studies = {item.study_id for item in listed}
    queries = (
        select(InstanceRow.digest).where(InstanceRow.study_id.in_(studies), InstanceRow.deleted_at.is_(None)),
        select(ResultObjectRow.digest).where(ResultObjectRow.deleted_at.is_(None)),
        select(AnalysisFileRow.digest).where(AnalysisFileRow.deleted_at.is_(None)),
        select(ClassificationItemRow.image_sha256),
        select(ClassificationItemRow.mask_sha256),
    )
    return {
        digest for query in queries for digest in session.scalars(query.where(query.selected_columns[0].in_(digests)))
    }


def _time(state: os.stat_result) -> datetime:
    return datetime.fromtimestamp(state.st_mtime, UTC)


def _make_durable(objects: ObjectStore, digests: Collection[str]) -> None:
    """Make it durable that the files are not in their places: the list forgets them next.

    One flush will do, of the folder that all of them passed through: a file system moves a name in one step. Were a
    name to come back all the same, after a power cut, its file would take up space and do no harm.
    """
    if digests:
        sync_folder(objects.leaving)


def _strike(session: Session, digests: Sequence[str]) -> None:
    session.execute(delete(DiscardedObjectRow).where(DiscardedObjectRow.digest.in_(digests)))


def _put_off(session: Session, digest: str, *, until: datetime) -> None:
    session.execute(update(DiscardedObjectRow).where(DiscardedObjectRow.digest == digest).values(not_before=until))
