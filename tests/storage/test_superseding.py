"""Results that a later one replaces, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from storage import (
    audit,
    deliveries,
    delivery_claims,
    delivery_lists,
    job_lists,
    jobs,
    registering,
    rejections,
    reports,
    studies,
    superseding,
    worklist,
)
from storage.arrivals import Origin, StudyFacts
from storage.database import Database
from storage.domain import StoredInstance
from storage.errors import IllegalTransition, LeaseLost
from storage.objects import ObjectStore
from storage.result_tables import AnalysisRow, ReportRow
from storage.states import DeliveryState, JobState, ReportState, StudyState
from tests.support.records import DESTINATION, NOW, analysed_study, finish_again, series_facts
from tests.support.routing import close_as_head, close_quiet, quiet_studies, seen

LATER = NOW + timedelta(hours=1)
MR = "1.2.840.10008.5.1.4.1.1.4"


def _late_image(database: Database, uid: str, *, number: int = 99) -> int:
    """Send one more image of a study, close it again, and return the job of its next revision."""
    image = f"{uid}.{number}"
    instance = StoredInstance(uid, f"{uid}.1", image, MR, "1.2.840.10008.1.2.1", "MR", "9" * 64, "8" * 64, 10)
    origin = Origin("SENDER", None)
    with database.write() as session:
        registering.register_instance(session, instance, StudyFacts(), origin=origin, now=LATER)
        study = next(one for one in quiet_studies(session, quiet_seconds=0, now=LATER))
        job_id = close_as_head(session, study, quiet_seconds=0, now=LATER)
    assert job_id is not None
    return job_id


def test_a_later_result_supersedes_the_earlier_one_and_calls_its_deliveries_off(
    database: Database, objects: ObjectStore
) -> None:
    first = analysed_study(database, objects)
    second = _late_image(database, first.study_instance_uid)
    with database.read() as session:
        assert session.get_one(AnalysisRow, first.job_id).superseded_at is None
    finish_again(database, objects, second)
    with database.read() as session:
        earlier, later = session.get_one(AnalysisRow, first.job_id), session.get_one(AnalysisRow, second)
        assert (earlier.superseded_by, later.superseded_at) == (second, None)
        states = {one.state for one in delivery_lists.listed(session) if one.job_id == first.job_id}
        assert states == {DeliveryState.SUPERSEDED}
        assert [one.job_id for one in rejections.due(session, now=LATER)] == [first.job_id]
        assert superseding.predecessors_of(session, second) == (first.job_id,)
        entry = worklist.study(session, first.study_instance_uid)
    assert entry is not None
    assert (entry.state, entry.job_id, entry.result_revision) == (StudyState.SUCCEEDED, second, 2)
    assert len(entry.analyses) == 1


def _corrected(database: Database, uid: str, *, body_part: str, content: str) -> tuple[int, ...]:
    """Send a study's one image of a series of its own with other content; return the jobs that this opened."""
    instance = StoredInstance(uid, f"{uid}.2", f"{uid}.2.1", MR, "1.2.840.10008.1.2.1", "MR", content, content, 10)
    with database.write() as session:
        registering.register_instance(session, instance, StudyFacts(), origin=Origin("SENDER", None), now=LATER)
        study = next(one for one in quiet_studies(session, quiet_seconds=0, now=LATER))
        opened = close_quiet(session, study, seen(series_facts(uid, body_part=body_part)), quiet_seconds=0, now=LATER)
    assert opened is not None
    return opened


def test_a_study_that_a_route_wants_again_is_analysed_again_and_refers_to_the_rejected_report(
    database: Database, objects: ObjectStore
) -> None:
    first = analysed_study(database, objects)
    assert _corrected(database, first.study_instance_uid, body_part="KNEE", content="7" * 64) == ()
    opened = _corrected(database, first.study_instance_uid, body_part="HEAD", content="6" * 64)
    assert len(opened) == 1
    finish_again(database, objects, opened[0])
    with database.read() as session:
        entry = worklist.study(session, first.study_instance_uid)
        before = reports.replaced_report(session, opened[0])
        rejected = reports.objects_of(session, first.job_id)
    assert entry is not None
    assert (entry.state, entry.leading_job_id) == (StudyState.SUCCEEDED, opened[0])
    # It makes the new objects' UIDs others than those that the PACS was told to set aside.
    assert before in rejected


def test_a_job_whose_result_was_set_aside_cannot_be_retried(database: Database, objects: ObjectStore) -> None:
    first = analysed_study(database, objects)
    assert _corrected(database, first.study_instance_uid, body_part="KNEE", content="7" * 64) == ()
    with database.write() as session, pytest.raises(IllegalTransition, match="does not hold any more"):
        jobs.retry(session, first.job_id, actor="op", now=LATER)
    with database.read() as session:
        entry = worklist.study(session, first.study_instance_uid)
    assert entry is not None
    assert entry.state is StudyState.NOT_APPLICABLE


def test_a_report_replaces_the_last_one_that_was_written(database: Database, objects: ObjectStore) -> None:
    first = analysed_study(database, objects)
    second = _late_image(database, first.study_instance_uid)
    finish_again(database, objects, second)
    third = _late_image(database, first.study_instance_uid, number=100)
    finish_again(database, objects, third)
    with database.read() as session:
        assert reports.objects_of(session, second) == ()
        assert reports.replaced_report(session, third) in reports.objects_of(session, first.job_id)


def test_a_report_that_was_not_written_yet_never_is(database: Database, objects: ObjectStore) -> None:
    first = analysed_study(database, objects)
    with database.write() as session:
        session.get_one(ReportRow, first.job_id).state = ReportState.PENDING.value
    second = _late_image(database, first.study_instance_uid)
    finish_again(database, objects, second)
    with database.read() as session:
        assert [one.job_id for one in reports.due(session, now=LATER)] == [second]
        assert rejections.due(session, now=LATER) == ()


def test_only_destinations_that_got_something_and_want_notes_are_told(database: Database, objects: ObjectStore) -> None:
    first = analysed_study(database, objects)
    with database.write() as session:
        sending = delivery_claims.claim_due(session, owner="g", lease_seconds=60, now=NOW)
        deliveries.sent(session, sending[0].id, owner="g", status=0, now=NOW)
    second = _late_image(database, first.study_instance_uid)
    finish_again(database, objects, second)
    with database.read() as session:
        assert rejections.receivers(session, first.job_id, [DESTINATION]) == (DESTINATION,)
        assert rejections.receivers(session, first.job_id, ["OTHER@10.0.0.9:104"]) == ()
    with database.write() as session:
        rejections.needless(session, first.job_id, now=LATER)
    with database.read() as session:
        assert rejections.due(session, now=LATER) == ()
        tags = [event.tag for event in audit.history(session)]
    assert {"result:superseded", "rejection:needless"} <= set(tags)


def test_a_job_of_an_older_revision_cannot_write_its_result_any_more(database: Database, objects: ObjectStore) -> None:
    first = analysed_study(database, objects)
    with database.write() as session:
        jobs.retry(session, first.job_id, actor="op", now=NOW)
        held = jobs.claim(session, first.job_id, owner="w", lease_seconds=60, now=NOW)
    assert held is not None
    second = _late_image(database, first.study_instance_uid)
    with database.write() as session, pytest.raises(LeaseLost):
        jobs.complete(session, held, now=LATER)
    with database.read() as session:
        assert job_lists.find(session, second).state is JobState.QUEUED


def test_a_result_whose_images_changed_is_sent_no_more_even_if_the_next_job_fails(
    database: Database, objects: ObjectStore
) -> None:
    first = analysed_study(database, objects)
    second = _late_image(database, first.study_instance_uid)
    with database.write() as session:
        held = jobs.claim(session, second, owner="w", lease_seconds=60, now=LATER)
        assert held is not None
        jobs.fail(session, held, code="incomplete_volume", reason="slices lack", retryable=False, now=LATER)
    with database.read() as session:
        assert {one.state for one in delivery_lists.listed(session)} == {DeliveryState.SUPERSEDED}
        assert session.get_one(AnalysisRow, first.job_id).superseded_at is None
        assert rejections.due(session, now=LATER) == ()


def test_a_corrected_patient_has_no_valid_result_until_the_study_is_analysed_again(
    database: Database, objects: ObjectStore
) -> None:
    first = analysed_study(database, objects)
    with database.write() as session:
        known = studies.instances_of(session, 1)[0]
        corrected = replace(known, digest="7" * 64, content_sha256="7" * 64)
        origin = Origin("SENDER", None)
        registering.register_instance(session, corrected, StudyFacts("OTHER"), origin=origin, now=LATER)
    with database.read() as session:
        assert session.get_one(AnalysisRow, first.job_id).superseded_at == LATER
        assert [one.job_id for one in rejections.due(session, now=LATER)] == [first.job_id]
        assert worklist.worklist(session) == ()
