"""Several who ask for the same workitem at once, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from storage import audit
from storage.attributes import Attributes, element
from storage.database import Database
from storage.objects import ObjectStore
from storage.workitems import workitems
from storage.workitems.attributes import Tag
from storage.workitems.refusals import Refusal, WorkitemRefused
from tests.support.records import NOW, analysed_study

_MANY = 6
_NEW = Attributes(
    {
        Tag.ProcedureStepState.value: element("CS", "SCHEDULED"),
        Tag.ScheduledProcedureStepPriority.value: element("CS", "LOW"),
        Tag.ProcedureStepLabel.value: element("LO", "Read"),
        Tag.ScheduledProcedureStepStartDateTime.value: element("DT", "2026"),
        Tag.InputReadinessState.value: element("CS", "READY"),
        Tag.StudyInstanceUID.value: element("UI", "2.25.1001"),
    }
)


def _claims(database: Database, barrier: Barrier, number: int) -> int:
    barrier.wait()
    try:
        with database.write() as session:
            workitems.change_state(
                session, "1.2.3", "IN PROGRESS", transaction_uid=f"1.9.{number}", actor=f"WS{number}", now=NOW
            )
    except WorkitemRefused as error:
        return int(error.refusal)
    return 0


def _creates(database: Database, barrier: Barrier, number: int) -> int:
    barrier.wait()
    try:
        with database.write() as session:
            workitems.create(session, "1.2.3", _NEW, actor=f"ORDERS{number}", now=NOW)
    except WorkitemRefused as error:
        return int(error.refusal)
    return 0


def test_of_many_who_create_or_claim_one_at_once_one_does(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects)
    barrier = Barrier(_MANY)
    with ThreadPoolExecutor(_MANY) as pool:
        created = list(pool.map(lambda number: _creates(database, barrier, number), range(_MANY)))
        claimed = list(pool.map(lambda number: _claims(database, barrier, number), range(_MANY)))
    assert sorted(created) == [0, *[int(Refusal.DUPLICATE_SOP_INSTANCE)] * (_MANY - 1)]
    assert sorted(claimed) == [0, *[int(Refusal.TRANSACTION_UID_NOT_CORRECT)] * (_MANY - 1)]
    with database.read() as session:
        assert len(audit.history(session, subject="workitem/1.2.3")) == 2
