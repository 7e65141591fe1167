"""The workitem of a study: opened by a result, following it, ended by who read it; on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from storage import analyses, arrays, audit, jobs, reading, superseding, worklist
from storage.announcing import urgent_studies
from storage.attributes import Attributes, element, sequence
from storage.database import Database
from storage.domain import Priority
from storage.objects import ObjectStore
from storage.workitems import opening, workitems
from storage.workitems.attributes import Tag, code
from storage.workitems.refusals import WorkitemRefused
from storage.workitems.tables import WorkitemRow
from tests.support.records import NOW, TWO_HEAD_ROUTES, analysed_study, queued_study, result

_LOCK = "2.25.4711"
_LATER = NOW + timedelta(minutes=5)


def _workitems(database: Database) -> list[tuple[str, str]]:
    with database.read() as session:
        rows = session.scalars(select(WorkitemRow).order_by(WorkitemRow.id)).all()
        return [(row.state, row.priority) for row in rows]


def _uid(database: Database) -> str:
    with database.read() as session:
        return session.scalars(select(WorkitemRow.sop_instance_uid).order_by(WorkitemRow.id.desc())).first() or ""


def _claim(database: Database, uid: str) -> None:
    with database.write() as session:
        workitems.change_state(session, uid, "IN PROGRESS", transaction_uid=_LOCK, actor="WORKSTATION", now=NOW)


def _complete(database: Database, uid: str) -> None:
    done = {
        Tag.PerformedStationNameCodeSequence: sequence(code("WS1", "99TEST", "Workstation")),
        Tag.PerformedWorkitemCodeSequence: sequence(code("110005", "DCM", "Interpretation")),
        Tag.PerformedProcedureStepStartDateTime: element("DT", "20260301120000"),
        Tag.PerformedProcedureStepEndDateTime: element("DT", "20260301121000"),
        Tag.OutputInformationSequence: element("SQ"),
    }
    performed = sequence({tag.value: value for tag, value in done.items()})
    changes = Attributes({Tag.UnifiedProcedureStepPerformedProcedureSequence.value: performed})
    with database.write() as session:
        workitems.change(session, uid, changes, transaction_uid=_LOCK, actor="WORKSTATION", now=_LATER)
        workitems.change_state(session, uid, "COMPLETED", transaction_uid=_LOCK, actor="WORKSTATION", now=_LATER)


def _new() -> Attributes:
    asked = {
        Tag.ProcedureStepState: element("CS", "SCHEDULED"),
        Tag.ScheduledProcedureStepPriority: element("CS", "LOW"),
        Tag.ProcedureStepLabel: element("LO", "Read"),
        Tag.ScheduledProcedureStepStartDateTime: element("DT", "2026"),
        Tag.InputReadinessState: element("CS", "READY"),
    }
    return Attributes({tag.value: value for tag, value in asked.items()})


def _analyse(database: Database, objects: ObjectStore, job_id: int, priority: Priority, *, minutes: int = 0) -> None:
    analysis = result(objects, priority=priority)
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    now = NOW + timedelta(minutes=minutes)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=now)
        assert held is not None
        analyses.save(session, held, replace(analysis), grid_digest=grid, now=now)


def _two_jobs(database: Database) -> tuple[int, int]:
    first = queued_study(database, routes=TWO_HEAD_ROUTES).job_id
    return first, first + 1


@pytest.mark.parametrize(
    ("priority", "shown"),
    [(Priority.STAT, "HIGH"), (Priority.HIGH, "HIGH"), (Priority.ROUTINE, "MEDIUM"), (Priority.LOW, "LOW")],
)
def test_a_result_opens_a_workitem_of_its_priority(
    database: Database, objects: ObjectStore, priority: Priority, shown: str
) -> None:
    analysed_study(database, objects, priority=priority)
    assert _workitems(database) == [("SCHEDULED", shown)]
    with database.read() as session:
        found = workitems.find(session, _uid(database))
        (event,) = audit.history(session, tag="workitem:created")
    assert found.data_set.value(Tag.StudyInstanceUID) == "2.25.1001"
    assert f"priority {priority.value} " in found.data_set.value(Tag.CommentsOnTheScheduledProcedureStep)
    assert event.study == "2.25.1001"
    assert "PATIENT" not in event.details


def test_a_more_urgent_result_changes_the_workitem_that_is_scheduled(database: Database, objects: ObjectStore) -> None:
    first, second = _two_jobs(database)
    _analyse(database, objects, first, Priority.ROUTINE)
    _analyse(database, objects, second, Priority.STAT)
    assert _workitems(database) == [("SCHEDULED", "HIGH")]
    with database.read() as session:
        (event,) = audit.history(session, tag="workitem:prioritised")
    assert '"previous":"MEDIUM"' in event.details


def test_who_completes_the_workitem_has_read_the_study(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects)
    uid = _uid(database)
    _claim(database, uid)
    _complete(database, uid)
    with database.read() as session:
        assert worklist.worklist(session) == ()
        assert worklist.find(session, 1).read_by == "WORKSTATION"
    assert _workitems(database) == [("COMPLETED", "HIGH")]


def test_a_result_that_came_after_the_claim_is_read_by_a_workitem_of_its_own(
    database: Database, objects: ObjectStore
) -> None:
    first, second = _two_jobs(database)
    _analyse(database, objects, first, Priority.ROUTINE)
    uid = _uid(database)
    _claim(database, uid)
    _analyse(database, objects, second, Priority.STAT, minutes=2)
    assert _workitems(database) == [("IN PROGRESS", "MEDIUM")]
    _complete(database, uid)
    assert _workitems(database) == [("COMPLETED", "MEDIUM"), ("SCHEDULED", "HIGH")]
    with database.read() as session:
        assert len(worklist.worklist(session)) == 1


def test_a_study_that_is_read_completes_its_workitem_and_a_later_result_opens_another(
    database: Database, objects: ObjectStore
) -> None:
    first, second = _two_jobs(database)
    _analyse(database, objects, first, Priority.HIGH)
    with database.write() as session:
        reading.mark_read(session, 1, actor="web/anna", now=NOW)
        reading.mark_read(session, 1, actor="web/anna", now=NOW)
    assert _workitems(database) == [("COMPLETED", "HIGH")]
    _analyse(database, objects, second, Priority.HIGH, minutes=2)
    assert _workitems(database) == [("COMPLETED", "HIGH"), ("SCHEDULED", "HIGH")]


def test_whoever_claims_the_workitem_has_opened_the_urgent_study(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects, priority=Priority.STAT)
    with database.read() as session:
        assert urgent_studies.unopened(session, 1) is not None
    _claim(database, _uid(database))
    with database.read() as session:
        assert urgent_studies.unopened(session, 1) is None
        (event,) = audit.history(session, tag="study:seen")
    assert (event.actor, '"through":"workitem"' in event.details) == ("WORKSTATION", True)


def test_a_claim_that_was_abandoned_does_not_hide_a_new_result(database: Database, objects: ObjectStore) -> None:
    first, second = _two_jobs(database)
    _analyse(database, objects, first, Priority.ROUTINE)
    _claim(database, _uid(database))
    _analyse(database, objects, second, Priority.STAT, minutes=13 * 60)
    assert _workitems(database) == [("CANCELED", "MEDIUM"), ("SCHEDULED", "HIGH")]


def test_what_others_have_done_with_a_study_does_not_mark_it_as_read(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects)
    about_it = {Tag.StudyInstanceUID.value: element("UI", "2.25.1001")}
    with database.write() as session:
        workitems.create(session, "1.2.3", Attributes({**_new().elements, **about_it}), actor="QC", now=NOW)
    _claim(database, "1.2.3")
    _complete(database, "1.2.3")
    assert _workitems(database) == [("SCHEDULED", "HIGH"), ("COMPLETED", "LOW")]
    with database.read() as session:
        assert len(worklist.worklist(session)) == 1


def test_a_workitem_that_somebody_claimed_is_not_ended_by_a_mark(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects)
    _claim(database, _uid(database))
    with database.write() as session:
        reading.mark_read(session, 1, actor="web/anna", now=NOW)
    assert _workitems(database) == [("IN PROGRESS", "HIGH")]


def test_no_result_that_holds_cancels_the_workitem_and_the_next_one_opens_another(
    database: Database, objects: ObjectStore
) -> None:
    first, second = _two_jobs(database)
    _analyse(database, objects, first, Priority.HIGH)
    with database.write() as session:
        superseding.supersede_all(session, 1, actor="MODALITY", now=NOW)
        opening.note_result(session, 1, actor="MODALITY", now=NOW)
    assert _workitems(database) == [("CANCELED", "HIGH")]
    _analyse(database, objects, second, Priority.LOW)
    assert _workitems(database) == [("CANCELED", "HIGH"), ("SCHEDULED", "LOW")]


def test_a_withheld_result_puts_nothing_on_the_worklist(database: Database, objects: ObjectStore) -> None:
    job_id = queued_study(database).job_id
    analysis = replace(result(objects), withheld="out_of_distribution")
    grid = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    with database.write() as session:
        held = jobs.claim(session, job_id, owner="worker-1", lease_seconds=60, now=NOW)
        assert held is not None
        analyses.save(session, held, analysis, grid_digest=grid, now=NOW)
    assert _workitems(database) == []


def test_one_maker_cannot_fill_the_worklist(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workitems, "MOST_OPEN_OF_ONE", 2)
    content = _new()
    with database.write() as session:
        for number in (1, 2):
            workitems.create(session, f"1.2.{number}", content, actor="ORDERS", now=NOW)
        with pytest.raises(WorkitemRefused, match="end some first"):
            workitems.create(session, "1.2.3", content, actor="ORDERS", now=NOW)
        workitems.request_cancel(session, "1.2.1", Attributes({}), actor="ORDERS", now=NOW)
        workitems.create(session, "1.2.3", content, actor="ORDERS", now=NOW)
