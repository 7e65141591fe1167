"""A client of workitems, as workstations are, and the data sets that it sends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
)

from storage import peers
from storage.database import Database, utc_now
from storage.peers import USUAL_SERVICES, PeerEntry, Service

WORKSTATION = "WORKSTATION"
PUSH, PULL = str(UnifiedProcedureStepPush), str(UnifiedProcedureStepPull)
WATCH, QUERY = str(UnifiedProcedureStepWatch), str(UnifiedProcedureStepQuery)


def admit_workstation(database: Database, *, aet: str = WORKSTATION) -> None:
    """Put an entry on record that allows workitems."""
    entry = PeerEntry(aet.lower(), aet, services=USUAL_SERVICES | {Service.WORKITEMS})
    with database.write() as session:
        peers.add(session, entry, actor="test", now=utc_now())


@dataclass(frozen=True, slots=True)
class Client:
    """An open association that asks about workitems; each method returns the status, some with what came."""

    association: Association

    def create(self, dataset: Dataset | None, uid: str | None = None) -> tuple[int, Dataset | None]:
        status, made = self.association.send_n_create(dataset, PUSH, uid)
        return int(status.Status), made

    def find(self, keys: Dataset, *, model: str = PULL) -> tuple[int, list[Dataset]]:
        *pending, (last, _) = self.association.send_c_find(keys, model)
        return int(last.Status), [found for _, found in pending if found is not None]

    def get(self, uid: str, tags: list[Any] | None = None) -> tuple[int, Dataset]:
        status, found = self.association.send_n_get(tags or [], PUSH, uid, meta_uid=PULL)
        return int(status.Status), found or Dataset()

    def set(self, uid: str, changes: Dataset, lock: str = "") -> int:
        if lock:
            changes.TransactionUID = lock
        status, _ = self.association.send_n_set(changes, PUSH, uid, meta_uid=PULL)
        return int(status.Status)

    def move(self, uid: str, state: str, lock: str) -> int:
        asked = Dataset()
        asked.ProcedureStepState, asked.TransactionUID = state, lock
        return self.act(uid, asked, 1, PULL)

    def act(self, uid: str, asked: Dataset | None, action: int, meta: str) -> int:
        status, _ = self.association.send_n_action(asked, action, PUSH, uid, meta_uid=meta)
        return int(status.Status)


@contextlib.contextmanager
def workstation(port: int, *, aet: str = WORKSTATION, syntax: str = ExplicitVRLittleEndian) -> Iterator[Client]:
    """Open an association for all SOP classes of workitems, and release it."""
    entity = AE(ae_title=aet)
    for uid in (PUSH, PULL, WATCH, QUERY):
        entity.add_requested_context(uid, syntax)
    opened = entity.associate("127.0.0.1", port, ae_title="ONCUE")
    assert opened.is_established
    try:
        yield Client(opened)
    finally:
        opened.release()


def new_workitem(label: str = "Read the heart", *, priority: str = "MEDIUM", study: str = "1.2.3") -> Dataset:
    """Return what a system asks to be put on the worklist."""
    dataset = Dataset()
    dataset.TransactionUID = ""
    dataset.ScheduledProcedureStepPriority = priority
    dataset.ProcedureStepLabel = label
    dataset.WorklistLabel = "cardiology"
    dataset.ScheduledProcedureStepStartDateTime = "20260301120000+0100"
    dataset.InputReadinessState = "READY"
    dataset.ProcedureStepState = "SCHEDULED"
    dataset.PatientName, dataset.PatientID = "Müller^Jürgen", "P-1"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.StudyInstanceUID = study
    dataset.ScheduledWorkitemCodeSequence = [coded("110005", "DCM", "Interpretation")]
    dataset.ProcedureStepProgressInformationSequence = []
    dataset.UnifiedProcedureStepPerformedProcedureSequence = []
    return dataset


def performed() -> Dataset:
    """Return what a performer sets before it says that a workitem is COMPLETED."""
    item = Dataset()
    item.PerformedStationNameCodeSequence = [coded("WS1", "99TEST", "Workstation 1")]
    item.PerformedWorkitemCodeSequence = [coded("110005", "DCM", "Interpretation")]
    item.PerformedProcedureStepStartDateTime = "20260301121000"
    item.PerformedProcedureStepEndDateTime = "20260301122000"
    item.OutputInformationSequence = []
    changes = Dataset()
    changes.UnifiedProcedureStepPerformedProcedureSequence = [item]
    return changes


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """Return the item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def lock() -> str:
    """Return a new Transaction UID."""
    return str(generate_uid())


IMPLICIT = str(ImplicitVRLittleEndian)
