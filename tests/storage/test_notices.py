"""Studies that were not analysed, and who is told so, on both databases."""

from __future__ import annotations

from datetime import timedelta

import pytest

from storage import audit, delivery_lists, job_lists, jobs, notices, registering, study_arrivals
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import ObjectKind, StoredInstance
from storage.errors import IllegalTransition
from storage.notices import PendingNotice
from storage.objects import ObjectStore
from storage.result_tables import NoticeRow
from storage.states import DeliveryState, NoticeState, StudyState
from storage.study_arrivals import HeldBack, Waiting
from storage.written_objects import WrittenObject
from tests.support.records import MR_IMAGE, NOW, TWO_HEAD_ROUTES, closed_study, failed_study, finish_again, queued_study
from tests.support.routing import close_as_head, quiet_studies
from tests.support.told_destinations import add_told

LATER = NOW + timedelta(hours=1)
ROUTE = "head-mr"


def told(database: Database, name: str = "PACS", **columns: str) -> None:
    with database.write() as session:
        add_told(session, name, now=NOW, **columns)


def due(database: Database) -> tuple[PendingNotice, ...]:
    with database.read() as session:
        return notices.due(session, now=LATER)


def states(database: Database) -> list[str]:
    with database.read() as session:
        return [row.state for row in session.query(NoticeRow).order_by(NoticeRow.id)]


def events(database: Database, verb: str) -> int:
    with database.read() as session:
        return len(audit.history(session, tag=f"notice:{verb}"))


def written_as(name: str) -> WrittenObject:
    return WrittenObject(ObjectKind.SR, f"2.25.{name}", "1.2.3", f"2.25.{name}.1", "1.2.840.10008.1.2.1", "d" * 64, 10)


def write(database: Database, *, receivers: tuple[str, ...] = ("PACS",)) -> None:
    (notice,) = due(database)
    with database.write() as session:
        notices.written(session, notice, [(written_as(str(notice.opened_at.timestamp())), receivers)], now=NOW)


def late_image(database: Database, uid: str) -> int | None:
    instance = StoredInstance(uid, f"{uid}.1", f"{uid}.99", MR_IMAGE, "1.2.3", "MR", "9" * 64, "8" * 64, 10)
    with database.write() as session:
        registering.register_instance(session, instance, StudyFacts(), origin=Origin("SENDER", None), now=LATER)
        (study_id,) = quiet_studies(session, quiet_seconds=0, now=LATER)
        return close_as_head(session, study_id, quiet_seconds=0, now=LATER)


def test_nobody_is_told_where_no_destination_wants_it(database: Database) -> None:
    told(database, unanalysed="nothing")
    closed_study(database, body_part="KNEE")
    failed_study(database, 2)
    assert states(database) == []


def test_a_study_that_no_route_wants_is_told_of_once(database: Database) -> None:
    told(database)
    study = closed_study(database, body_part="KNEE")
    (notice,) = due(database)
    assert notice.study_instance_uid == study.study_instance_uid
    assert notice.subject == notices.Subject(1, "not_applicable")
    assert events(database, "opened") == 1


def test_a_job_that_failed_for_good_is_told_of_with_its_code_and_route(database: Database) -> None:
    told(database)
    failed = failed_study(database, code="two_patients")
    (notice,) = due(database)
    with database.read() as session:
        route = job_lists.find(session, failed.job_id).route
    assert notice.subject == notices.Subject(1, "two_patients", route)


def test_a_job_that_is_tried_again_is_told_of_after_its_last_attempt_alone(database: Database) -> None:
    told(database)
    queued = queued_study(database)
    for attempt in range(1, jobs.MAX_ATTEMPTS + 1):
        now = NOW + timedelta(hours=attempt)
        with database.write() as session:
            held = jobs.claim(session, queued.job_id, owner="w", lease_seconds=60, now=now)
            assert held is not None
            jobs.fail(session, held, code="out_of_device_memory", reason="full", retryable=True, now=now)
        assert len(states(database)) == (attempt == jobs.MAX_ATTEMPTS)


def test_a_job_whose_workers_died_is_told_of(database: Database) -> None:
    told(database)
    queued = queued_study(database)
    for attempt in range(jobs.MAX_ATTEMPTS):
        now = NOW + timedelta(hours=attempt)
        with database.write() as session:
            assert jobs.claim(session, queued.job_id, owner="w", lease_seconds=60, now=now) is not None
        with database.write() as session:
            jobs.reclaim_expired(session, now=now + timedelta(minutes=2))
    with database.read() as session:
        (notice,) = notices.due(session, now=NOW + timedelta(days=1))
    assert notice.subject.code == "worker_lost"


def test_a_study_that_is_set_aside_is_told_of_and_one_that_is_held_is_not(database: Database) -> None:
    told(database)
    for number, state in ((1, StudyState.HELD), (2, StudyState.SET_ASIDE)):
        uid = f"2.25.{number}"
        instance = StoredInstance(uid, f"{uid}.1", f"{uid}.1.1", MR_IMAGE, "1.2.3", "MR", "9" * 64, "8" * 64, 10)
        with database.write() as session:
            registering.register_instance(session, instance, StudyFacts(), origin=Origin("SENDER", None), now=NOW)
            study = quiet_studies(session, quiet_seconds=0, now=NOW)[-1]
            held = HeldBack(state, Waiting.SOURCE, NOW, {})
            assert study_arrivals.hold_back(session, study, held, now=NOW)
    assert [notice.subject.code for notice in due(database)] == ["set_aside"]


def test_destinations_of_some_routes_are_told_of_these_alone(database: Database) -> None:
    told(database, "ALL")
    told(database, "TUMOURS", routes="tumour,brain")
    told(database, "NOTHING", unanalysed="nothing")
    with database.read() as session:
        assert [one.name for one in notices.receivers(session, "tumour")] == ["ALL", "TUMOURS"]
        assert [one.name for one in notices.receivers(session, "bleeding")] == ["ALL"]
        assert [one.name for one in notices.receivers(session, notices.NO_ROUTE)] == ["ALL"]


def test_a_retry_withdraws_a_notice_and_a_second_failure_is_another_one(
    database: Database, objects: ObjectStore
) -> None:
    told(database)
    failed = failed_study(database)
    (first,) = due(database)
    write(database)
    with database.write() as session:
        jobs.retry(session, failed.job_id, actor="op", now=LATER)
    assert states(database) == ["superseded"]
    with database.read() as session:
        assert [one.state for one in delivery_lists.listed(session)] == [DeliveryState.SUPERSEDED]
    with database.write() as session:
        held = jobs.claim(session, failed.job_id, owner="w", lease_seconds=60, now=LATER)
        assert held is not None
        jobs.fail(session, held, code="no_usable_series", reason="none", retryable=False, now=LATER)
    (second,) = due(database)
    assert (second.id, second.opened_at > first.opened_at) == (first.id, True)
    with database.write() as session:
        jobs.retry(session, failed.job_id, actor="op", now=LATER)
    finish_again(database, objects, failed.job_id)
    assert (states(database), due(database)) == (["superseded"], ())


def test_a_later_revision_that_is_analysed_withdraws_what_was_to_be_said(database: Database) -> None:
    told(database)
    unwanted = closed_study(database, body_part="KNEE")
    assert late_image(database, unwanted.study_instance_uid) is not None
    assert (states(database), due(database)) == (["superseded"], ())
    failed = failed_study(database, 2)
    assert late_image(database, failed.study_instance_uid) is not None
    assert (states(database), due(database)) == (["superseded", "superseded"], ())


def test_a_late_image_that_changes_nothing_is_not_told_of_again(database: Database) -> None:
    told(database)
    study = closed_study(database, body_part="KNEE")
    write(database)
    with database.write() as session:
        notices.open_notice(session, study.study_id, notices.Subject(2, "not_applicable"), now=LATER)
    assert states(database) == ["written"]
    with database.write() as session:
        notices.open_notice(session, study.study_id, notices.Subject(2, "set_aside"), now=LATER)
    assert states(database) == ["superseded", "pending"]


def test_each_route_of_a_study_is_told_of_on_its_own(database: Database) -> None:
    told(database)
    study = closed_study(database, routes=TWO_HEAD_ROUTES)
    for job_id in study.job_ids:
        with database.write() as session:
            held = jobs.claim(session, job_id, owner="w", lease_seconds=60, now=NOW)
            assert held is not None
            jobs.fail(session, held, code="suv_unknown", reason="no", retryable=False, now=NOW)
    assert {notice.subject.route for notice in due(database)} == {"bleeding", "tumour"}
    with database.write() as session:
        jobs.retry(session, study.job_ids[0], actor="op", now=LATER)
    assert len(due(database)) == 1


def test_what_is_written_is_on_its_way_to_its_destinations(database: Database) -> None:
    told(database)
    study = closed_study(database, body_part="KNEE")
    write(database, receivers=("PACS", "RIS"))
    with database.read() as session:
        sent = delivery_lists.listed(session)
    assert {(one.destination, one.job_id, one.state) for one in sent} == {
        ("PACS", None, DeliveryState.PENDING),
        ("RIS", None, DeliveryState.PENDING),
    }
    assert {one.study_instance_uid for one in sent} == {study.study_instance_uid}
    assert events(database, "written") == 1


def test_a_writer_that_comes_too_late_changes_nothing(database: Database) -> None:
    told(database)
    study = closed_study(database, body_part="KNEE")
    (notice,) = due(database)
    with database.write() as session:
        notices.withdraw(session, study.study_id, notices.NO_ROUTE, actor="op", now=NOW)
        notices.open_notice(session, study.study_id, notices.Subject(1, "set_aside"), now=LATER)
    with database.write() as session:
        notices.written(session, notice, [(written_as("1"), ["PACS"])], now=LATER)
        notices.needless(session, notice, now=LATER)
        notices.failed(session, notice, code="storage_full", reason="full", retryable=False, now=LATER)
    assert states(database) == ["pending"]
    with database.read() as session:
        assert delivery_lists.listed(session) == ()


def test_a_notice_that_cannot_be_written_is_tried_again_and_then_given_up(database: Database) -> None:
    told(database)
    closed_study(database, body_part="KNEE")
    (notice,) = due(database)
    for attempt in range(1, 6):
        with database.write() as session:
            notices.failed(session, notice, code="storage_full", reason="full", retryable=True, now=LATER)
        assert states(database) == ["pending" if attempt < 5 else "failed"]
        assert due(database) == ()
    assert (events(database, "postponed"), events(database, "failed")) == (4, 1)


def test_a_notice_takes_no_step_that_the_table_does_not_have(database: Database) -> None:
    told(database)
    study = closed_study(database, body_part="KNEE")
    write(database)
    with database.write() as session:
        row = session.query(NoticeRow).one()
        for state in NoticeState:
            if state not in notices.ALLOWED[NoticeState.WRITTEN]:
                with pytest.raises(IllegalTransition, match=f"written to {state}"):
                    notices._step(row, state)
        notices.withdraw(session, study.study_id, notices.NO_ROUTE, actor="op", now=LATER)
        notices.withdraw(session, study.study_id, notices.NO_ROUTE, actor="op", now=LATER)
    assert states(database) == ["superseded"]
    assert events(database, "superseded") == 1
