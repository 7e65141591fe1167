from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from dicom_gateway.negotiator import Negotiator
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.report_writer import ReportWriter
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.negotiation import Question
from storage import (
    audit,
    deletions,
    deliveries,
    delivery_claims,
    job_lists,
    jobs,
    kept_studies,
    studies,
    study_arrivals,
)
from storage.commitment import proofs
from storage.commitment.proofs import Cause, Terms
from storage.database import Database
from storage.deletion_errors import ImagesDeleted, PicturesDeleted, ResultsDeleted, RetentionBusy
from storage.deletion_tables import DiscardedObjectRow
from storage.delivery_tables import DeliveryRow, DestinationRow
from storage.domain import Holding
from storage.fewshot import items, tasks
from storage.models import InstanceRow, StandingRow, StudyRow
from storage.objects import ObjectStore
from storage.proof_ways import ProofWay
from storage.receipts import study_key
from storage.registering import Registration
from storage.result_tables import AnalysisRow, ReportRow
from storage.retention import deleting, discarding, turns
from storage.retention.candidates import targets
from storage.retention.obstacles import Journals, Obstacle, judge
from storage.states import JobState, StudyState
from tests.support import records
from tests.support.retained import ARRIVED, EVERYTHING, MONTH_LATER, NO_ROUTE, Kept, rules_of
from tests.support.told_destinations import add_told

IMAGES = {"name": "images", "delete": ["images"], "older_than_days": 30}


@pytest.fixture
def kept(database: Database, objects: ObjectStore) -> Kept:
    return Kept(database, objects)


def test_everything_of_a_study_that_is_old_enough_goes_and_its_record_stays(kept: Kept) -> None:
    job_id = kept.sent()
    assert len(kept.files()) == 8  # two images; grid, attention map, SEG and SR; overlay and panel
    done = kept.run()
    assert kept.files() == set()
    assert (done.freed.files, done.more) == (8, False)
    with kept.database.read() as session:
        said = {one.kind: (one.rule, one.files) for one in deletions.standing(session, 1)}
        assert said == {Holding.IMAGES: ("all", 2), Holding.RESULTS: ("all", 4), Holding.PICTURES: ("all", 2)}
        tags = [event.tag for event in audit.history(session, tag=None, limit=500) if "deleted" in event.tag]
        assert tags == ["study:images-deleted", "study:results-deleted", "study:pictures-deleted"]
        assert job_lists.find(session, job_id).state is JobState.SUCCEEDED
        assert len(studies.instances_of(session, 1)) == 2


def test_what_a_destination_is_yet_to_prove_keeps_the_study(kept: Kept) -> None:
    with kept.database.write() as session:
        add_told(session, records.DESTINATION, now=ARRIVED, proof="commitment")
    kept.sent()
    assert _obstacle(kept) is Obstacle.UNPROVEN
    before = kept.files()
    kept.run()
    assert kept.files() == before
    with kept.database.write() as session:
        inquiry = proofs.claim(session, records.DESTINATION, Terms(ProofWay.COMMITMENT, "2.25.1", 10), now=MONTH_LATER)
        assert inquiry is not None
        first, *rest = (one.delivery_id for one in inquiry.objects)
        proofs.committed(session, rest, now=MONTH_LATER)
        proofs.failed(session, [first], Cause("commitment_refused", "it will not"), now=MONTH_LATER)
    assert _obstacle(kept) is Obstacle.UNPROVEN, "a proof that failed is for a person to look at"
    assert _obstacle(kept, also_refused=True) is None
    with kept.database.write() as session:
        session.execute(update(DestinationRow).values(proof="none"))
    assert _obstacle(kept) is None, "nobody wants it to be proven any more"


def _obstacle(kept: Kept, **rule: object) -> Obstacle | None:
    with kept.database.read() as session:
        (judged,) = rules_of({**EVERYTHING, **rule})
        return judge(session, [1], judged, waiting=Journals(frozenset()), now=MONTH_LATER).get(1)


def test_a_study_that_is_not_old_enough_stays(kept: Kept) -> None:
    kept.sent()
    before = kept.files()
    kept.run(now=ARRIVED + timedelta(days=29))
    assert kept.files() == before


def test_kinds_go_apart(kept: Kept) -> None:
    job_id = kept.sent()
    kept.run({**IMAGES, "delete": ["pictures"]})
    assert len(kept.files()) == 6
    with kept.database.read() as session:
        assert [one.kind for one in deletions.standing(session, 1)] == [Holding.PICTURES]
        deletions.require_images(session, 1)
        deletions.require_results(session, job_id)
        with pytest.raises(PicturesDeleted, match=r"2026-04-01 12:00 UTC by rule images"):
            deletions.require_pictures(session, job_id)


def test_the_first_rule_that_is_for_a_study_counts(kept: Kept) -> None:
    kept.sent(1)
    kept.study(2, routes=NO_ROUTE)
    keep = {"name": "keep-results", "delete": ["images"], "states": ["succeeded"], "keep": True}
    done = kept.run(keep, IMAGES)
    assert done.studies == 1
    with kept.database.read() as session:
        assert deletions.of_study(session, 1) == ()
        assert [one.rule for one in deletions.of_study(session, 2)] == ["images"]


def test_a_round_ends_once_it_has_done_enough_and_the_next_goes_on(kept: Kept) -> None:
    for number in range(1, 6):
        kept.study(number, images=2, routes=NO_ROUTE)
    first = kept.run(IMAGES, most_files=4)
    assert (first.studies, first.freed.files, first.more) == (2, 4, True)
    while kept.run(IMAGES, most_files=4).more:
        pass
    assert kept.files() == set()


# What is never deleted.


def _pending_delivery(kept: Kept) -> None:
    kept.analysed()


def _refused_delivery(kept: Kept) -> None:
    kept.analysed()
    with kept.database.write() as session:
        due = delivery_claims.claim_due(session, owner="g", lease_seconds=60, now=ARRIVED)
        for one in due:
            deliveries.refused(session, one.id, owner="g", status=0xA900, code="x", reason="x", now=ARRIVED)


def _delivery_under_way(kept: Kept) -> None:
    kept.analysed()
    with kept.database.write() as session:
        delivery_claims.claim_due(session, owner="g", lease_seconds=60, now=ARRIVED)


def _kept_by_a_person(kept: Kept) -> None:
    kept.sent()
    with kept.database.write() as session:
        kept_studies.keep(session, 1, reason="a teaching case", actor="cli:anna", now=ARRIVED)


def _still_arriving(kept: Kept) -> None:
    kept.receive(kept.image(1), now=ARRIVED)


def _asked_again(kept: Kept) -> None:
    kept.sent()
    with kept.database.write() as session:
        studies.reroute(session, 1, actor="cli:anna", now=ARRIVED)


def _queued(kept: Kept) -> None:
    kept.study()


def _running(kept: Kept) -> None:
    kept.study()
    with kept.database.write() as session:
        assert jobs.claim(session, 1, owner="w", lease_seconds=10**8, now=ARRIVED)


def _analysed_again(kept: Kept) -> None:
    job_id = kept.sent()
    with kept.database.write() as session:
        jobs.retry(session, job_id, actor="cli:anna", now=ARRIVED)


def _example_of_a_task(kept: Kept) -> None:
    kept.sent()
    with kept.database.write() as session:
        draft = tasks.TaskDraft("kind", ("a", "b"), "a", "MR", "HEAD", "a use", "another")
        task = tasks.create(session, draft, actor="cli:anna", now=ARRIVED)
        digest = kept.image(1).digest
        new = items.NewItem("p" * 64, items.Split.SUPPORT, "a", "picture:1", digest)
        items.add(session, task, [new], actor="cli:anna", now=ARRIVED)


def _failed(kept: Kept) -> None:
    kept.study()
    with kept.database.write() as session:
        held = jobs.claim(session, 1, owner="w", lease_seconds=60, now=ARRIVED)
        assert held is not None
        jobs.fail(session, held, code="x", reason="x", retryable=False, now=ARRIVED)


@pytest.mark.parametrize(
    "arrange",
    [
        _pending_delivery,
        _refused_delivery,
        _delivery_under_way,
        _kept_by_a_person,
        _still_arriving,
        _asked_again,
        _queued,
        _running,
        _analysed_again,
        _example_of_a_task,
        _failed,
    ],
)
def test_nothing_goes_of_what_somebody_needs(kept: Kept, arrange: Callable[[Kept], None]) -> None:
    arrange(kept)
    before = kept.files()
    done = kept.run()
    assert (done.studies, kept.files()) == (0, before)
    assert before


def test_images_that_wait_in_a_journal_keep_their_study(kept: Kept) -> None:
    kept.sent()
    (target, *_) = targets(rules_of(IMAGES))
    waiting = Journals(frozenset({study_key("2.25.1001")}))
    with kept.database.write() as session:
        assert deleting.delete(session, 1, target, waiting=waiting, actor="r", now=MONTH_LATER) is None
        assert deleting.delete(session, 1, target, waiting=Journals(frozenset()), actor="r", now=MONTH_LATER)


def test_a_rule_may_delete_what_was_refused_and_what_failed(kept: Kept) -> None:
    _refused_delivery(kept)
    kept.run({**EVERYTHING, "also_refused": True})
    assert kept.files() == set()


def test_a_rule_may_ask_that_every_result_was_sent(kept: Kept) -> None:
    kept.sent(1)
    kept.analysed(2)
    with kept.database.write() as session:
        session.execute(update(DeliveryRow).where(DeliveryRow.id > 2).values(state="superseded"))
    kept.run({**IMAGES, "delivered": "sent"})
    with kept.database.read() as session:
        assert deletions.of_study(session, 1) != ()
        assert deletions.of_study(session, 2) == ()


def test_age_may_count_from_the_analysis(kept: Kept) -> None:
    kept.sent()
    rule = {**IMAGES, "since": "analysed", "older_than_days": 30}
    with kept.database.write() as session:
        session.execute(update(StandingRow).values(arrived_at=ARRIVED - timedelta(days=30)))
        session.execute(update(StudyRow).values(last_instance_at=ARRIVED - timedelta(days=30)))
    assert kept.run(rule, now=ARRIVED + timedelta(days=20)).studies == 0
    assert kept.run(rule, now=ARRIVED + timedelta(days=31)).studies == 1


def test_a_study_that_was_let_go_goes(kept: Kept) -> None:
    _kept_by_a_person(kept)
    with kept.database.write() as session:
        kept_studies.let_go(session, 1, actor="cli:anna", now=ARRIVED)
    assert kept.run().studies == 3
    with kept.database.read() as session:
        assert [event.actor for event in audit.history(session, tag="study:kept")] == ["cli:anna"]
        assert [event.actor for event in audit.history(session, tag="study:let-go")] == ["cli:anna"]


# Files.


def test_bytes_that_another_study_refers_to_stay_until_that_goes_too(kept: Kept) -> None:
    kept.sent(1)
    kept.sent(2)
    with kept.database.read() as session:
        attention = {path for path in kept.files() if kept.objects.get(path).startswith(b"PK")}
    assert len(attention) == 2  # the grid and the attention map of both studies are the same bytes
    with kept.database.write() as session:
        kept_studies.keep(session, 2, reason="", actor="cli:anna", now=ARRIVED)
    kept.run()
    assert attention <= kept.files()
    with kept.database.write() as session:
        kept_studies.let_go(session, 2, actor="cli:anna", now=ARRIVED)
        assert session.scalar(select(func.count()).select_from(DiscardedObjectRow)) == 0
    kept.run()
    assert kept.files() == set()


def test_a_crash_between_commit_and_unlink_is_made_good_by_the_next_round(kept: Kept) -> None:
    kept.sent()
    before = kept.files()
    for target in targets(rules_of()):
        with kept.database.write() as session:
            deleting.delete(session, 1, target, waiting=Journals(frozenset()), actor="gateway-1", now=MONTH_LATER)
    assert kept.files() == before
    with kept.database.read() as session, pytest.raises(ImagesDeleted):
        deletions.require_images(session, 1)
    kept.age_all()
    kept.retention(IMAGES).run(most_files=100)
    assert kept.files() == set()
    with kept.database.read() as session:
        assert discarding.waiting(session).files == 0


def test_a_crash_while_a_file_is_out_of_its_place_loses_nothing_that_came_again(kept: Kept) -> None:
    kept.study(routes=NO_ROUTE)
    again, gone = (kept.image(1, index) for index in range(2))
    for target in targets(rules_of(IMAGES)):
        with kept.database.write() as session:
            deleting.delete(session, 1, target, waiting=Journals(frozenset()), actor="gateway-1", now=MONTH_LATER)
    for image in (again, gone):
        assert kept.objects.withdraw(image.digest) is not None
    assert kept.receive(again, now=MONTH_LATER) == (Registration.AGAIN,)
    kept.retention(IMAGES, now=MONTH_LATER + timedelta(minutes=5)).run(most_files=100)
    assert kept.files() == {again.digest}
    assert list(kept.objects.leaving.iterdir()) == []


def test_a_file_that_was_stored_again_lately_stays_for_an_hour(kept: Kept) -> None:
    kept.study(routes=NO_ROUTE)
    kept.age_all()
    image = kept.image(1)
    kept.age_all()
    kept.objects.put(f"{image.study_instance_uid} image 0 ".encode() * 50)  # a worker about to write its row
    now = MONTH_LATER
    really_now = kept.objects.path(image.digest).stat().st_mtime
    rule = {**IMAGES, "older_than_days": 1}
    at = max(now, datetime.fromtimestamp(really_now, UTC) + timedelta(minutes=30))
    assert kept.retention(rule, now=at).run(most_files=10).freed.files == 1
    assert kept.files() == {image.digest}
    assert kept.retention(rule, now=at + timedelta(minutes=31)).run(most_files=10).freed.files == 1
    assert kept.files() == set()


def test_one_gateway_deletes_at_a_time(kept: Kept) -> None:
    kept.study(routes=NO_ROUTE)
    with kept.database.write() as session:
        assert turns.take(session, "gateway-2", now=MONTH_LATER)
    with pytest.raises(RetentionBusy):
        kept.run(IMAGES)
    assert kept.run(IMAGES, now=MONTH_LATER + timedelta(minutes=3)).studies == 1  # its process is dead


# What comes after.


def test_images_that_come_again_are_stored_again_and_their_result_still_holds(kept: Kept) -> None:
    job_id = kept.sent()
    kept.run(IMAGES)
    images = [kept.image(1, index) for index in range(2)]
    assert kept.receive(*images, now=MONTH_LATER) == (Registration.AGAIN,) * 2
    kept.close(1, now=MONTH_LATER)
    with kept.database.read() as session:
        assert deletions.standing(session, 1) == ()
        deletions.require_images(session, 1)
        assert [job.id for job in job_lists.listed(session)] == [job_id]
        assert session.get_one(StandingRow, 1).state == StudyState.SUCCEEDED.value
    assert kept.receive(*images, now=MONTH_LATER) == (Registration.DUPLICATE,) * 2
    assert kept.run(IMAGES, now=MONTH_LATER + timedelta(days=29)).studies == 0
    assert kept.run(IMAGES, now=MONTH_LATER + timedelta(days=31)).studies == 1


def test_a_corrected_image_of_deleted_ones_has_a_job_that_says_so(kept: Kept) -> None:
    kept.sent()
    kept.run(IMAGES)
    kept.receive(kept.image(1, 7), now=MONTH_LATER)
    kept.close(1, now=MONTH_LATER)
    with kept.database.read() as session:
        (newest, before) = job_lists.listed(session)
        with pytest.raises(ImagesDeleted, match="send the study again"):
            deletions.require_images(session, 1, newest.wanted)
    assert (newest.state, before.state) == (JobState.QUEUED, JobState.SUCCEEDED)


def test_a_job_that_lacked_its_images_is_opened_anew_when_they_come_again(kept: Kept) -> None:
    kept.sent()
    kept.run(IMAGES)
    kept.receive(kept.image(1, 7), now=MONTH_LATER)
    kept.close(1, now=MONTH_LATER)
    with kept.database.write() as session:
        held = jobs.claim(session, 2, owner="w", lease_seconds=60, now=MONTH_LATER)
        assert held is not None
        jobs.fail(session, held, code=ImagesDeleted.code, reason="x", retryable=False, now=MONTH_LATER)
    later = MONTH_LATER + timedelta(hours=1)
    kept.receive(*(kept.image(1, index) for index in range(2)), now=later)
    kept.close(1, now=later)
    with kept.database.read() as session:
        states = {job.id: job.state for job in job_lists.listed(session)}
    assert states == {1: JobState.SUCCEEDED, 2: JobState.SUPERSEDED, 3: JobState.QUEUED}


def test_objects_are_not_written_from_images_that_are_gone(kept: Kept) -> None:
    job_id = kept.sent()
    with kept.database.write() as session:
        session.execute(update(AnalysisRow).values(series_instance_uid="2.25.1001.1"))
    kept.run(IMAGES)
    with kept.database.write() as session:
        session.execute(update(ReportRow).values(state="pending", next_attempt_at=ARRIVED))
    negotiator = Negotiator(kept.database, Question("ONCUE", PeerTimeouts()), lambda: MONTH_LATER)
    ReportWriter(kept.database, kept.objects, Equipment(), (), negotiator, lambda: MONTH_LATER).write_due()
    with kept.database.read() as session:
        report = session.get_one(ReportRow, job_id)
        assert (report.state, report.code) == ("failed", "images_deleted")


def test_whoever_asks_for_what_is_deleted_is_told(kept: Kept) -> None:
    job_id = kept.sent()
    kept.run()
    with kept.database.write() as session, pytest.raises(ImagesDeleted, match="by rule all"):
        jobs.retry(session, job_id, actor="cli:anna", now=MONTH_LATER)
    with kept.database.write() as session, pytest.raises(ResultsDeleted, match="cannot be sent"):
        deliveries.retry(session, 1, actor="cli:anna", now=MONTH_LATER)


def test_a_study_that_was_set_aside_is_not_released_without_its_images(kept: Kept) -> None:
    kept.receive(kept.image(1), now=ARRIVED)
    with kept.database.write() as session:
        held = study_arrivals.HeldBack(StudyState.SET_ASIDE, study_arrivals.Waiting.EXPECTED, ARRIVED, {})
        assert study_arrivals.hold_back(session, 1, held, now=ARRIVED)
    assert kept.run(IMAGES).studies == 0  # only a rule that names the state
    assert kept.run({**IMAGES, "states": ["set_aside"]}).studies == 1
    with kept.database.write() as session, pytest.raises(ImagesDeleted):
        study_arrivals.release(session, 1, actor="cli:anna", now=MONTH_LATER)


def test_earlier_versions_go_with_the_current_one(kept: Kept) -> None:
    kept.study(routes=NO_ROUTE)
    old = kept.image(1)
    corrected = kept.put("corrected")
    kept.receive(replace(old, digest=corrected, content_sha256=corrected, size_bytes=9), now=ARRIVED)
    kept.close(1, routes=NO_ROUTE, now=ARRIVED)
    assert {old.digest, corrected} <= kept.files()
    kept.run(IMAGES)
    assert kept.files() == set()
    with kept.database.read() as session:
        rows = session.scalars(select(InstanceRow.deleted_at)).all()
    assert len(rows) == 3
    assert None not in rows


def test_the_oldest_go_first_while_the_disk_is_too_full(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 5):
        kept.study(number, images=1, routes=NO_ROUTE, now=ARRIVED + timedelta(hours=number))
    size = kept.image(1).size_bytes
    rule = {**IMAGES, "older_than_days": 1, "when_disk_above_percent": 50}

    class Usage:
        total, used, free = 100 * size, 52 * size - 1, 0

    with monkeypatch.context() as full:
        # How full a disk is cannot be arranged for real.
        full.setattr("storage.retention.rounds.shutil.disk_usage", lambda _: Usage)
        done = kept.run(rule)
    assert done.studies == 2
    with kept.database.read() as session:
        assert [bool(deletions.of_study(session, number)) for number in range(1, 5)] == [True, True, False, False]
    Usage.used = 50 * size
    with monkeypatch.context() as full:
        full.setattr("storage.retention.rounds.shutil.disk_usage", lambda _: Usage)
        assert kept.run(rule).studies == 0
