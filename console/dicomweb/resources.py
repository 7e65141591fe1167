"""Which objects an address of WADO-RS means, and what of them can be given at the moment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy.orm import Session

from console.dicomweb.metadata_cache import MetadataCache
from console.dicomweb.stored_files import IntactFiles, size_of
from storage.database import Database, utc_now
from storage.deletion_errors import ObjectDeleted
from storage.errors import ObjectMissing, RecordMissing
from storage.history import readings
from storage.history.readings import Looked, Reader
from storage.holdings import objects as holdings
from storage.holdings.objects import HeldObject
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Target:
    """A study, a series of it, or an instance of that, by their UIDs."""

    study: str
    series: str | None = None
    instance: str | None = None

    @property
    def level(self) -> str:
        """The word for what is meant."""
        return "instance" if self.instance else "series" if self.series else "study"


@dataclass(frozen=True, slots=True)
class Given:
    """The objects of a target whose files are there, with their sizes; ``lacking`` counts those that are gone."""

    objects: tuple[HeldObject, ...]
    sizes: tuple[int, ...]
    lacking: int

    @property
    def tag(self) -> str:
        """Text that is another one where any of the objects is."""
        return hashlib.sha256("".join(one.digest for one in self.objects).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Resources:
    """Looks objects up and puts on record who gets them, each in a session of its own."""

    database: Database
    files: ObjectStore
    metadata: MetadataCache
    intact: IntactFiles

    @classmethod
    def of(cls, database: Database, files: ObjectStore) -> Resources:
        """Return what is held in a database and an object store, with nothing known of it yet."""
        return cls(database, files, MetadataCache(), IntactFiles(files))

    def give(self, target: Target, *, actor: str, what: Looked) -> Given:
        """Return what a target means, once that is on record.

        RecordMissing for what nobody has sent, ObjectDeleted for what retention deleted, ObjectMissing where every file
        is lost.
        """
        reader = Reader(actor, utc_now())
        with self.database.read() as session:
            found = _found(session, target)
            deleted = holdings.count_deleted(session, target.study, target.series, target.instance)
            on_record = bool(found) and readings.is_reading_objects(session, target.study, reader, what=what)
        _require_some(found, target, deleted=deleted)
        given = self._present(found, deleted)
        if not given.objects:
            raise ObjectMissing(f"the files of this {target.level} are not in the store; restore them from a backup")
        if not on_record:
            with self.database.write() as session:
                readings.objects_read(session, found[0].study_id, reader, what=what)
        return given

    def _present(self, found: list[HeldObject], deleted: int) -> Given:
        sizes = [(one, size_of(self.files, one.digest)) for one in found]
        there = [(one, size) for one, size in sizes if size is not None]
        lost = len(sizes) - len(there)
        return Given(tuple(one for one, _ in there), tuple(size for _, size in there), deleted + lost)


def _found(session: Session, target: Target) -> list[HeldObject]:
    if target.instance is None:
        return holdings.of_study(session, target.study, target.series)
    one = holdings.find(session, target.study, target.instance)
    return [one] if one is not None and target.series in (None, one.series_instance_uid) else []


def _require_some(found: list[HeldObject], target: Target, *, deleted: int) -> None:
    if found:
        return
    if deleted:
        raise ObjectDeleted(f"retention deleted this {target.level}; send it again and it is stored again")
    raise RecordMissing(f"no such {target.level} is held here")
