"""Studies leave the worklist when somebody has read them, and come back for what is new."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from storage import analyses, audit, jobs, reading, superseding, worklist
from storage.database import Database
from storage.domain import Priority
from storage.errors import IllegalTransition, RecordMissing
from storage.objects import ObjectStore
from storage.study_pages import StudyFilter, StudyList
from tests.support.records import (
    NOW,
    TWO_HEAD_ROUTES,
    analysed_study,
    closed_study,
    finish_again,
    queued_study,
    result,
    save_result,
)


def _worklist(database: Database) -> list[int]:
    with database.read() as session:
        return [entry.id for entry in worklist.worklist(session)]


def _mark(database: Database, study_id: int = 1) -> None:
    with database.write() as session:
        reading.mark_read(session, study_id, actor="Dr. Jones", now=NOW)


def test_a_study_that_was_read_leaves_the_worklist_and_stays_in_all(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects, 1)
    analysed_study(database, objects, 2)
    _mark(database)
    assert _worklist(database) == [2]
    with database.read() as session:
        every = worklist.listed(session, StudyList.ANALYSED)
        events = audit.history(session, tag="study:read-marked")
    assert {entry.id: (entry.unread, entry.read_by, entry.read_at) for entry in every} == {
        1: (False, "Dr. Jones", NOW), 2: (True, None, None),
    }  # fmt: skip # reads by its lines
    assert [(event.actor, event.study) for event in events] == [("Dr. Jones", "2.25.1001")]


def test_marking_twice_is_one_event_and_the_mark_can_be_taken_back(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects)
    _mark(database)
    _mark(database)
    with database.write() as session:
        reading.mark_unread(session, 1, actor="me", now=NOW)
    with database.write() as session:
        reading.mark_unread(session, 1, actor="me", now=NOW)
    assert _worklist(database) == [1]
    with database.read() as session:
        tags = [event.tag for event in audit.history(session) if "read" in event.tag]
        assert worklist.find(session, 1).read_by is None
    assert tags == ["study:read-marked", "study:read-unmarked"]


def test_only_a_result_can_be_read(database: Database) -> None:
    queued_study(database)
    with pytest.raises(IllegalTransition, match="no result"), database.write() as session:
        reading.mark_read(session, 1, actor="me", now=NOW)
    with pytest.raises(RecordMissing, match="no study 9"), database.write() as session:
        reading.mark_read(session, 9, actor="me", now=NOW)


def test_a_job_that_is_tried_again_puts_the_study_back_when_it_has_its_result(
    database: Database, objects: ObjectStore
) -> None:
    recorded = analysed_study(database, objects)
    _mark(database)
    with database.write() as session:
        jobs.retry(session, recorded.job_id, actor="me", now=NOW)
    assert _worklist(database) == []
    with database.write() as session:
        held = jobs.claim(session, recorded.job_id, owner="w", lease_seconds=60, now=NOW)
        assert held is not None
        analyses.save(session, held, result(objects), grid_digest="g", now=NOW + timedelta(seconds=1))
    assert _worklist(database) == [1]


def test_the_result_of_another_route_puts_the_study_back(database: Database, objects: ObjectStore) -> None:
    first, second = closed_study(database, routes=TWO_HEAD_ROUTES).job_ids
    finish_again(database, objects, first)
    _mark(database)
    assert _worklist(database) == []
    save_result(database, objects, second, result(objects, priority=Priority.LOW), number=2)
    assert _worklist(database) == [1]


def test_a_priority_that_rises_without_a_new_result_puts_the_study_back(
    database: Database, objects: ObjectStore
) -> None:
    first, second = closed_study(database, routes=TWO_HEAD_ROUTES).job_ids
    save_result(database, objects, first, result(objects, priority=Priority.LOW))
    organs_alone = replace(result(objects, priority=Priority.STAT), findings=())
    save_result(database, objects, second, organs_alone, number=2)
    _mark(database)
    with database.write() as session:
        superseding.supersede_results(session, 1, "bleeding", by=None, actor="me", now=NOW)
        jobs.retry(session, second, actor="me", now=NOW)
    assert _worklist(database) == [1]


def test_a_study_leaves_by_age_where_the_rule_says_so(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects)
    later = NOW + timedelta(hours=5)
    with database.read() as session:
        for hours, there in ((0, [1]), (5, [1]), (4.9, [])):
            wanted = StudyFilter().in_time(hours, now=later)
            assert [entry.id for entry in worklist.worklist(session, wanted=wanted)] == there
    recent = StudyFilter(since=later).in_time(10, now=later)
    assert recent.since == later
