"""Results that a later one replaces, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from storage import audit, deliveries, jobs, rejections, reports, studies, superseding, worklist
from storage.database import Database
from storage.domain import DeliveryState, JobState, ReportState, StoredInstance, StudyState
from storage.errors import IllegalTransition, LeaseLost
from storage.models import AnalysisRow, ReportRow
from storage.objects import ObjectStore
from storage.routes.series_facts import SeriesFacts
from tests.support.records import DESTINATION, NOW, analysed_study, finish_again
from tests.support.routing import close_as_head, head_series, seen

LATER = NOW + timedelta(hours=1)
MR = "1.2.840.10008.5.1.4.1.1.4"


def _late_image(database: Database, uid: str) -> int:
    """Send one more image of a study, close it again, and return the job of its next revision."""
    instance = StoredInstance(uid, f"{uid}.1", f"{uid}.99", MR, "1.2.840.10008.1.2.1", "MR", "9" * 64, "8" * 64, 10)
    origin = studies.Origin("SENDER", None)
    with database.write() as session:
        studies.register_instance(session, instance, studies.StudyFacts(), origin=origin, now=LATER)
        study = next(one for one in studies.quiet(session, quiet_seconds=0, now=LATER))
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
        states = {one.state for one in deliveries.listed(session) if one.job_id == first.job_id}
        assert states == {DeliveryState.SUPERSEDED}
        assert [one.job_id for one in rejections.due(session, now=LATER)] == [first.job_id]
        assert superseding.predecessor_of(session, second) == first.job_id
        entry = worklist.study(session, first.study_instance_uid)
    assert entry is not None
    assert (entry.state, entry.job_id, entry.result_revision) == (StudyState.SUCCEEDED, second, 2)
    assert len(entry.analyses) == 1


def test_a_route_that_applies_again_is_asked_again_although_its_images_are_those_of_before(
    database: Database, objects: ObjectStore
) -> None:
    first = analysed_study(database, objects)
    image = StoredInstance(
        first.study_instance_uid, "2.25.9", "2.25.9.1", MR, "1.2.840.10008.1.2.1", "MR", "9" * 64, "8" * 64, 10
    )
    with database.read() as session:
        wanted = jobs.find(session, first.job_id).wanted
    head, knee = head_series(wanted[0]), replace(head_series(wanted[0]), body_part_examined="KNEE")
    opened = [_close_after(database, image, facts, number) for number, facts in enumerate((knee, head), start=1)]
    assert opened[0] == ()
    with database.write() as session, pytest.raises(IllegalTransition, match="superseded"):
        jobs.retry(session, first.job_id, actor="op", now=LATER)
    (again,) = opened[1]
    with database.read() as session:
        assert session.get_one(AnalysisRow, first.job_id).superseded_by is None
        assert jobs.find(session, again).state is JobState.QUEUED


def _close_after(database: Database, image: StoredInstance, facts: SeriesFacts, number: int) -> tuple[int, ...]:
    """Send an image of another series, and close the study as one whose known series says what the facts say."""
    late = replace(image, sop_instance_uid=f"2.25.9.{number}", content_sha256=str(number) * 64)
    with database.write() as session:
        studies.register_instance(session, late, studies.StudyFacts(), origin=studies.Origin("S", None), now=LATER)
        opened = studies.close(session, 1, seen(facts), quiet_seconds=0, now=LATER)
    assert opened is not None
    return opened


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
        sending = deliveries.claim_due(session, owner="g", lease_seconds=60, now=NOW)
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
        assert jobs.find(session, second).state is JobState.QUEUED
