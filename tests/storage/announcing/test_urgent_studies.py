"""When a study is urgent, until when, and what counts as opened: across results, revisions, routes and processes."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import datetime, timedelta

from storage import analyses, audit, jobs, reading, registering
from storage.announcing import unopened_studies, urgent_studies
from storage.announcing.tables import OpenedThrough
from storage.announcing.unopened_studies import UrgentStudy
from storage.arrivals import Origin, StudyFacts
from storage.closing import SeenStudy
from storage.database import Database
from storage.domain import Priority, StoredInstance
from storage.objects import ObjectStore
from storage.routes.file import load_routes
from tests.support.records import (
    EXPLICIT,
    MR_IMAGE,
    NOW,
    TWO_HEAD_ROUTES,
    analysed_study,
    closed_study,
    queued_study,
    result,
    series_facts,
)
from tests.support.routing import close_as_head, close_quiet
from tests.support.urgent import analyse

DOCTOR = "web/dr-jones"


def later(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def open_study(database: Database, *, at: datetime, study_id: int = 1, seen: int | None = None) -> bool:
    with database.write() as session:
        return urgent_studies.opened(session, study_id, by=DOCTOR, through=OpenedThrough.CONSOLE, now=at, seen=seen)


def pending(database: Database) -> list[UrgentStudy]:
    with database.read() as session:
        return [*unopened_studies.pending(session)]


def chain(database: Database, study_id: int = 1) -> list[UrgentStudy]:
    with database.read() as session:
        return [*unopened_studies.of_study(session, study_id)]


def tags(database: Database, *wanted: str) -> list[str]:
    with database.read() as session:
        return [event.tag for event in audit.history(session) if event.tag in wanted]


def send_late_image(database: Database, *, at: datetime) -> None:
    late = StoredInstance("2.25.1001", "2.25.1001.1", "2.25.1001.1.9", MR_IMAGE, EXPLICIT, "MR", "9" * 64, "9" * 64, 1)
    with database.write() as session:
        registering.register_instance(session, late, StudyFacts(), origin=Origin("CT", None), now=at)


def next_revision(database: Database, *, at: datetime) -> int:
    """Have a late image come and the study close again; return its new job."""
    send_late_image(database, at=at)
    with database.write() as session:
        job_id = close_as_head(session, 1, quiet_seconds=0, now=at)
    assert job_id is not None
    return job_id


def test_stat_and_high_wait_in_this_order_and_the_rest_never_does(database: Database, objects: ObjectStore) -> None:
    for number, priority in enumerate((Priority.HIGH, Priority.ROUTINE, Priority.STAT, Priority.LOW), start=1):
        analyse(database, objects, queued_study(database, number).job_id, now=later(number), priority=priority)
    assert [(one.study_id, one.priority) for one in pending(database)] == [(3, Priority.STAT), (1, Priority.HIGH)]
    first = pending(database)[0]
    assert (first.arrived_at, first.analysed_at, first.waiting_since) == (NOW, later(3), later(3))
    assert tags(database, "study:made-urgent") == ["study:made-urgent"] * 2


def test_whoever_opens_it_first_is_on_record_and_nobody_after(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(1))
    assert open_study(database, at=later(5))
    assert not open_study(database, at=later(6))
    (one,) = chain(database)
    assert (one.opened_at, one.opened_by, one.opened_through) == (later(5), DOCTOR, OpenedThrough.CONSOLE)
    assert one.waited_seconds(later(60)) == 240
    assert pending(database) == []
    with database.read() as session:
        (event,) = audit.history(session, tag="study:seen")
    assert (event.actor, event.study) == (DOCTOR, "2.25.1001")
    assert json.loads(event.details)["waited_seconds"] == 240


def test_a_study_that_is_not_urgent_is_opened_without_a_trace(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(1), priority=Priority.ROUTINE)
    assert not open_study(database, at=later(2))
    assert chain(database) == []
    assert tags(database, "study:seen", "study:made-urgent") == []


def test_the_mark_of_having_read_opens_it(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(1))
    with database.write() as session:
        reading.mark_read(session, 1, actor="Dr. Jones", now=later(3))
    (one,) = chain(database)
    assert (one.opened_by, one.opened_through) == ("Dr. Jones", OpenedThrough.MARK)


def test_of_many_at_once_one_is_the_first(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(1))
    start, first = threading.Barrier(4), []

    def look() -> None:
        start.wait(10)
        first.append(open_study(database, at=later(2)))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(first) == [False, False, False, True]
    assert tags(database, "study:seen") == ["study:seen"]


def test_what_came_after_the_page_was_made_was_not_seen(database: Database, objects: ObjectStore) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=later(1), priority=Priority.HIGH)
    with database.read() as session:
        seen = urgent_studies.unopened(session, 1)
    analyse(database, objects, closed.job_ids[1], now=later(2), priority=Priority.STAT)
    assert not open_study(database, at=later(3), seen=seen)
    assert [one.priority for one in pending(database)] == [Priority.STAT]


def test_a_look_waits_for_the_result_that_is_being_written_and_does_not_count_for_it(
    database: Database, objects: ObjectStore
) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=later(1), priority=Priority.HIGH)
    with database.read() as session:
        seen = urgent_studies.unopened(session, 1)
    counted: list[bool] = []
    look = threading.Thread(target=lambda: counted.append(open_study(database, at=later(3), seen=seen)))
    with database.write() as session:
        held = jobs.claim(session, closed.job_ids[1], owner="worker-1", lease_seconds=60, now=later(2))
        assert held is not None
        analyses.save(session, held, result(objects, priority=Priority.STAT), grid_digest="g", now=later(2))
        look.start()
    look.join(60)
    assert counted == [False]
    assert [one.priority for one in pending(database)] == [Priority.STAT]


def test_a_higher_priority_waits_again_though_the_study_was_opened(database: Database, objects: ObjectStore) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=later(1), priority=Priority.HIGH)
    open_study(database, at=later(2))
    analyse(database, objects, closed.job_ids[1], now=later(30), priority=Priority.STAT)
    (one,) = pending(database)
    assert (one.priority, one.waiting_since, one.opened_at) == (Priority.STAT, later(30), None)
    assert [(was.priority, was.ended_at) for was in chain(database)] == [
        (Priority.STAT, None), (Priority.HIGH, later(30)),
    ]  # fmt: skip # reads by its lines


def test_a_higher_priority_of_an_unopened_study_waits_since_the_first(database: Database, objects: ObjectStore) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=later(1), priority=Priority.HIGH)
    analyse(database, objects, closed.job_ids[1], now=later(30), priority=Priority.STAT)
    (one,) = pending(database)
    assert (one.priority, one.waiting_since, one.analysed_at) == (Priority.STAT, later(1), later(30))


def test_the_same_priority_from_another_route_changes_nothing(database: Database, objects: ObjectStore) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=later(1))
    open_study(database, at=later(2))
    analyse(database, objects, closed.job_ids[1], now=later(3))
    assert pending(database) == []
    assert len(chain(database)) == 1


def test_new_images_of_an_opened_study_wait_again_and_those_of_an_unopened_one_go_on(
    database: Database, objects: ObjectStore
) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(2))
    second = next_revision(database, at=later(5))
    analyse(database, objects, second, now=later(6))
    (one,) = chain(database)
    assert (one.waiting_since, one.revision, one.arrived_at) == (later(2), 1, NOW)
    open_study(database, at=later(7))
    with database.write() as session:
        job = jobs.find(session, second)
        jobs.retry(session, job.id, actor="me", now=later(8))
    analyse(database, objects, second, now=later(9))
    (again,) = pending(database)
    assert (again.waiting_since, again.revision, again.arrived_at) == (later(9), 2, later(5))


def test_a_result_replaced_before_anybody_saw_it_ends_the_wait(database: Database, objects: ObjectStore) -> None:
    recorded = queued_study(database)
    analyse(database, objects, recorded.job_id, now=later(1))
    with database.write() as session:
        jobs.retry(session, recorded.job_id, actor="me", now=later(2))
    assert len(pending(database)) == 1, "the earlier result holds until the next one is there"
    analyse(database, objects, recorded.job_id, now=later(3), priority=Priority.ROUTINE)
    assert pending(database) == []
    (one,) = chain(database)
    assert (one.ended_at, one.opened_at) == (later(3), None)
    assert not open_study(database, at=later(4))
    assert tags(database, "study:urgency-ended", "study:seen") == ["study:urgency-ended"]


def test_a_lower_priority_of_an_opened_study_is_seen_already(database: Database, objects: ObjectStore) -> None:
    recorded = queued_study(database)
    analyse(database, objects, recorded.job_id, now=later(1))
    open_study(database, at=later(2))
    with database.write() as session:
        jobs.retry(session, recorded.job_id, actor="me", now=later(3))
    analyse(database, objects, recorded.job_id, now=later(4), priority=Priority.HIGH)
    assert pending(database) == []
    assert chain(database)[0].opened_by == DOCTOR


def test_a_result_that_leads_again_waits_since_it_first_did(database: Database, objects: ObjectStore) -> None:
    closed = closed_study(database, routes=TWO_HEAD_ROUTES)
    analyse(database, objects, closed.job_ids[0], now=later(1), priority=Priority.HIGH)
    analyse(database, objects, closed.job_ids[1], now=later(2), priority=Priority.STAT)
    with database.write() as session:
        jobs.retry(session, closed.job_ids[1], actor="me", now=later(3))
    analyse(database, objects, closed.job_ids[1], now=later(4), priority=Priority.LOW)
    (one,) = pending(database)
    assert (one.priority, one.waiting_since, one.ended_at) == (Priority.HIGH, later(1), None)
    assert len(chain(database)) == 2


def test_the_study_of_another_patient_is_urgent_no_more(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects, priority=Priority.STAT)
    changed = StoredInstance(
        "2.25.1001", "2.25.1001.1", "2.25.1001.1.1", MR_IMAGE, EXPLICIT, "MR", "8" * 64, "8" * 64, 1
    )
    with database.write() as session:
        registering.register_instance(
            session,
            changed,
            StudyFacts("SOMEBODY-ELSE", "ACC1", "20260301", "Head"),
            origin=Origin("CT", None),
            now=later(9),
        )
    assert pending(database) == []
    assert chain(database)[0].ended_at == later(9)


def test_what_no_route_wants_any_more_is_urgent_no_more(database: Database, objects: ObjectStore) -> None:
    analysed_study(database, objects, priority=Priority.STAT)
    send_late_image(database, at=later(5))
    knee = SeenStudy(load_routes(), (series_facts("2.25.1001", body_part="KNEE"),))
    with database.write() as session:
        assert close_quiet(session, 1, knee, quiet_seconds=0, now=later(6)) == ()
    assert pending(database) == []
    assert chain(database)[0].ended_at == later(6)


def test_a_withheld_result_makes_no_study_urgent(database: Database, objects: ObjectStore) -> None:
    recorded = queued_study(database)
    with database.write() as session:
        held = jobs.claim(session, recorded.job_id, owner="w", lease_seconds=60, now=NOW)
        assert held is not None
        withheld = replace(result(objects, priority=Priority.STAT), withheld="unlike_training_data")
        analyses.save(session, held, withheld, grid_digest="g", now=NOW)
    assert pending(database) == []


def test_the_first_channel_counts_and_only_for_the_priority_that_stands(
    database: Database, objects: ObjectStore
) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(1))
    for channel, priority, at in (("mail", Priority.HIGH, 2), ("ris", Priority.STAT, 3), ("mail", Priority.STAT, 4)):
        with database.write() as session:
            urgent_studies.announced(session, 1, channel=channel, priority=priority, now=later(at))
    (one,) = pending(database)
    assert (one.announced_by, one.announced_at) == ("ris", later(3))


def test_a_clock_that_went_back_makes_no_negative_wait(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database).job_id, now=later(10))
    (one,) = pending(database)
    assert one.waited_seconds(later(5)) == 0


def test_those_that_wait_for_longer_than_a_while_are_counted(database: Database, objects: ObjectStore) -> None:
    analyse(database, objects, queued_study(database, 1).job_id, now=later(1))
    analyse(database, objects, queued_study(database, 2).job_id, now=later(30))
    analyse(database, objects, queued_study(database, 3).job_id, now=later(0), priority=Priority.HIGH)
    with database.read() as session:
        every = unopened_studies.waiting(session)
        stat = unopened_studies.waiting(session, priority=Priority.STAT)
        long = unopened_studies.waiting(session, priority=Priority.STAT, before=later(20))
    assert (every.count, every.since) == (3, later(0))
    assert (stat.count, stat.since) == (2, later(1))
    assert (long.count, long.since) == (1, later(1))
