"""Which objects a retrieval is about, and the record that a peer asked for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy.orm import Session

from dicom_gateway.errors import TooManyMatches
from dicom_gateway.queries.retrieval_keys import RetrievalKeys
from dicom_gateway.sending.outgoing import Outgoing
from storage.database import Database
from storage.history import readings
from storage.history.readings import Reader
from storage.holdings import objects as holdings
from storage.holdings.objects import HeldObject
from storage.holdings.question import Level
from storage.objects import ObjectStore

MOST_OBJECTS = 0xFFFF
"""Sub-operations of one request: the numbers of a response have room for no more (PS3.7 Table 9.1-3)."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Finds what is asked for; no session stays open behind a call."""

    database: Database
    objects: ObjectStore
    clock: Callable[[], datetime]

    def find(self, keys: RetrievalKeys) -> tuple[HeldObject, ...]:
        """Return the objects of a retrieval, by study; TooManyMatches, StorageError."""
        with self.database.read() as session:
            studies = _studies(session, keys)
            found: list[HeldObject] = []
            for study in studies:
                found.extend(_of_study(session, study, keys))
                if len(found) > MOST_OBJECTS:
                    raise TooManyMatches(f"more than {MOST_OBJECTS} objects: ask for them in parts")
        return tuple(found)

    def note(self, found: Sequence[HeldObject], *, actor: str, destination: str) -> None:
        """Put on record, before anything is sent, who gets objects of which studies; StorageError where it cannot be.

        ``actor`` and ``destination`` are AE titles: who asked, and who gets them.
        """
        reader = Reader(actor, self.clock())
        with self.database.write() as session:
            for study_id, count in Counter(one.study_id for one in found).items():
                readings.objects_retrieved(session, study_id, reader, objects=count, destination=destination)

    def outgoing(self, found: HeldObject) -> Outgoing:
        """Return an object as it is sent, held to its digest before: what was changed on disk is no image any more."""
        return Outgoing(
            path=self.objects.path(found.digest),
            sop_class_uid=found.sop_class_uid,
            sop_instance_uid=found.sop_instance_uid,
            transfer_syntax_uid=found.transfer_syntax_uid,
            verify=partial(self.objects.verify, found.digest),
        )


def _studies(session: Session, keys: RetrievalKeys) -> Sequence[str]:
    """Return the studies that are asked for; a Patient ID beside their UIDs must be theirs."""
    if not keys.patient_id:
        return keys.studies
    of_patient = holdings.studies_of_patient(session, keys.patient_id)
    if keys.level is Level.PATIENT:
        return of_patient
    return [uid for uid in keys.studies if uid in of_patient]


def _of_study(session: Session, study: str, keys: RetrievalKeys) -> Iterator[HeldObject]:
    if keys.level is not Level.IMAGE:
        series = keys.series if keys.level is Level.SERIES else (None,)
        for uid in series:
            yield from holdings.of_study(session, study, uid)
        return
    wanted = dict.fromkeys(keys.instances)
    for one in holdings.of_study(session, study, keys.series[0]):
        if one.sop_instance_uid in wanted:
            del wanted[one.sop_instance_uid]
            yield one
    # What a later result supersedes is given to whoever names it.
    for uid in wanted:
        one_more = holdings.find(session, study, uid)
        if one_more is not None and one_more.series_instance_uid == keys.series[0]:
            yield one_more
