"""What becomes of one message: done once, discarded, or failed with its code. On both databases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from storage import analyses, arrays, audit, job_messages, jobs, reports, worklist
from storage.database import Database, utc_now
from storage.domain import JobState, Presence, Segmentation, StoredInstance, Volume
from storage.errors import LeaseLost
from storage.fewshot import fit_requests
from storage.fewshot.fit_requests import RequestKind, RequestState, Wish
from storage.objects import ObjectStore
from storage.routes.file import parse_routes
from storage.triage.policy_file import load_policy
from tests.support.analysers import ALGORITHM, QuickAnalyser, ready_models
from tests.support.classification import new_adapter, new_task
from tests.support.queued import queue_study, small_phantom, stored_instances
from tests.support.routing import head_series, seen
from workers.analysers import AbortCheck, Analyser
from workers.config import WorkerSettings
from workers.errors import TaskNotPromoted
from workers.fewshot.fit_requests import FitRunner
from workers.pipeline import analyse
from workers.queue.app import FIT, make_app
from workers.queue.signs_of_life import SignsOfLife
from workers.queue.tasks import JobRunner, Outcome, register_tasks
from workers.resources import PipelineResources

MR = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    phantom = small_phantom(tmp_path_factory.mktemp("phantom"))
    return [*phantom.series_folder.iterdir(), *phantom.localizer_folder.iterdir()]


@pytest.fixture
def instances(objects: ObjectStore, files: list[Path]) -> list[StoredInstance]:
    return stored_instances(objects, files, study_uid="2.25.1")


@dataclass(frozen=True)
class FailingAnalyser:
    error: BaseException

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        del volume
        check()
        raise self.error


@dataclass(frozen=True)
class StrangeAnalyser:
    """Finds something in what is unlike anything that it knows."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        return replace(QuickAnalyser().segment(volume, check=check), out_of_distribution=3.0)


@dataclass(frozen=True)
class BlindAnalyser:
    """Finds nothing."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        check()
        return Segmentation(volume.voxels > 1e9, volume.voxels * 0, 0.05, 0.0, ALGORITHM)


def _runner(database: Database, objects: ObjectStore, analyser: Analyser, *, name: str = "zero-shot") -> JobRunner:
    bench = PipelineResources(database, objects, ready_models({name: analyser}), None, load_policy(), 4)
    return JobRunner(bench, "worker-1", lease_seconds=30)


def _job(database: Database, job_id: int) -> jobs.Job:
    with database.read() as session:
        return jobs.find(session, job_id)


def test_a_study_is_analysed_and_its_result_can_be_read_back(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    assert _runner(database, objects, QuickAnalyser()).run(job_id) is Outcome.SUCCEEDED
    with database.read() as session:
        analysis = analyses.load(session, job_id, objects)
    assert analysis.label_map is not None
    assert analysis.label_map.labels.shape == (8, 64, 64)
    assert analysis.findings[0].presence is Presence.PRESENT
    assert any(note.startswith("localizer") for note in analysis.notes)
    assert objects.get(analysis.overlays[0]).startswith(b"\x89PNG")


def test_nothing_found_is_one_absent_finding_without_a_mask(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    assert _runner(database, objects, BlindAnalyser()).run(job_id) is Outcome.SUCCEEDED
    with database.read() as session:
        analysis = analyses.load(session, job_id, objects)
    assert analysis.label_map is None
    assert [finding.presence for finding in analysis.findings] == [Presence.ABSENT]
    assert len(analysis.frames) == 8


def test_a_second_message_for_the_same_job_ends_quietly(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    runner = _runner(database, objects, QuickAnalyser())
    assert [runner.run(job_id), runner.run(job_id), runner.run(job_id + 99)] == [
        Outcome.SUCCEEDED,
        Outcome.NOT_CLAIMED,
        Outcome.NOT_CLAIMED,
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "out_of_device_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_device_memory"),
        (ZeroDivisionError("Smith^John"), "internal_error"),
    ],
)
def test_a_failed_attempt_keeps_its_code_and_is_tried_again(
    database: Database, objects: ObjectStore, instances: list[StoredInstance], error: Exception, code: str
) -> None:
    job_id = queue_study(database, instances)
    assert _runner(database, objects, FailingAnalyser(error)).run(job_id) is Outcome.FAILED
    job = _job(database, job_id)
    assert (job.code, job.state) == (code, JobState.QUEUED)
    assert "Smith" not in (job.reason or "")


def test_a_worker_without_the_routes_analyser_hands_the_job_back_unharmed(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    with database.write() as session:
        job_messages.published(session, job_id, now=utc_now())
    assert _runner(database, objects, QuickAnalyser(), name="chest").run(job_id) is Outcome.NOT_CLAIMED
    job = _job(database, job_id)
    assert (job.state, job.code, job.attempts) == (JobState.QUEUED, None, 0)
    with database.read() as session:
        assert [due.id for due in job_messages.publishable(session, now=utc_now())] == [job_id]
    assert _runner(database, objects, QuickAnalyser()).run(job_id) is Outcome.SUCCEEDED


def test_a_job_without_a_promoted_task_waits_with_its_code_and_costs_no_attempt(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    lacking = FailingAnalyser(TaskNotPromoted("no adapter of the few-shot task 'texture' is promoted"))
    for _ in range(jobs.MAX_ATTEMPTS + 1):
        assert _runner(database, objects, lacking).run(job_id) is Outcome.POSTPONED
    job = _job(database, job_id)
    assert (job.state, job.code, job.attempts) == (JobState.QUEUED, "task_not_promoted", 0)
    with database.read() as session:
        assert job_messages.publishable(session, now=utc_now()) == ()
    assert _runner(database, objects, QuickAnalyser()).run(job_id) is Outcome.SUCCEEDED
    assert _job(database, job_id).code is None


@pytest.mark.slow
def test_a_result_far_from_the_training_data_is_on_record_and_not_sent(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    assert _runner(database, objects, StrangeAnalyser()).run(job_id) is Outcome.SUCCEEDED
    with database.read() as session:
        analysis = analyses.load(session, job_id, objects)
        assert reports.due(session, now=utc_now()) == ()
        entry = worklist.find(session, 1)
    assert (analysis.withheld, entry.analyses[0].withheld) == ("unlike_training_data", "unlike_training_data")
    assert (entry.analyses[0].code, entry.priority) == ("unlike_training_data", None)
    assert entry.analyses[0].priority is analysis.decision.priority
    assert analysis.route == "head-mr"


def test_a_study_of_two_patients_is_never_analysed_as_one(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    mine, other = head_series(instances[0].series_instance_uid), replace(head_series("2.25.99"), patient_id="P2")
    mixed = seen(replace(mine, patient_id="P1", sop_class_uids=other.sop_class_uids), other)
    mixed = replace(mixed, series=tuple(replace(one, sop_class_uids=frozenset({MR})) for one in mixed.series))
    job_id = queue_study(database, instances, whole=mixed)
    assert _runner(database, objects, QuickAnalyser()).run(job_id) is Outcome.FAILED
    job = _job(database, job_id)
    assert (job.state, job.code) == (JobState.FAILED, "two_patients")
    assert "P2" not in (job.reason or "")


def test_a_study_with_an_object_gone_from_the_store_fails_with_that_code(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    objects.path(instances[0].digest).unlink()
    _runner(database, objects, QuickAnalyser()).run(job_id)
    assert _job(database, job_id).code == "object_missing"


def test_a_worker_that_was_overtaken_cannot_write_its_result(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    now = utc_now()
    with database.write() as session:
        late = jobs.claim(session, job_id, owner="slow", lease_seconds=1, now=now)
    assert late is not None
    resources = _runner(database, objects, QuickAnalyser()).resources
    analysis = analyse(resources, late, check=lambda: None)
    with database.write() as session:
        jobs.reclaim_expired(session, now=now + timedelta(seconds=2))
    assert _runner(database, objects, QuickAnalyser()).run(job_id) is Outcome.SUCCEEDED
    grid_digest = arrays.save_grid(objects, analysis.frames, analysis.label_map)
    with pytest.raises(LeaseLost), database.write() as session:
        analyses.save(session, late, analysis, grid_digest=grid_digest, now=utc_now())
    with database.read() as session:
        assert len(audit.history(session, tag="study:analysed")) == 1


def test_a_worker_that_loses_its_job_stops_and_discards_it(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)

    class Overtaken:
        """The job is taken back while it runs; the analyser asks now and then whether to go on."""

        def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
            del volume
            with database.write() as session:
                jobs.release_owner(session, "worker-1", now=utc_now())
            while True:
                check()

    runner = JobRunner(_runner(database, objects, Overtaken()).resources, "worker-1", lease_seconds=0.2)
    assert runner.run(job_id) is Outcome.DISCARDED
    assert _job(database, job_id).state is JobState.QUEUED


def test_the_same_images_give_the_same_digest_and_tracking_uids(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    job_id = queue_study(database, instances)
    runner = _runner(database, objects, QuickAnalyser())
    runner.run(job_id)
    with database.write() as session:
        first = analyses.load(session, job_id, objects)
        jobs.retry(session, job_id, actor="operator", now=utc_now())
    runner.run(job_id)
    with database.read() as session:
        second = analyses.load(session, job_id, objects)
    assert first.input_sha256 == second.input_sha256
    assert [f.tracking_uid for f in first.findings] == [f.tracking_uid for f in second.findings]


def test_a_fit_message_ends_its_request_with_a_code_and_shows_signs_of_work(
    database: Database, objects: ObjectStore
) -> None:
    with database.write() as session:
        task = new_task(session)
        wish = Wish(RequestKind.EVALUATE, new_adapter(session, task).id)
        request = fit_requests.place(session, task, wish, actor="api:x", now=utc_now())
    signs = SignsOfLife()
    runner = replace(_runner(database, objects, QuickAnalyser()), signs=signs)
    fitter = FitRunner(database, WorkerSettings(), "worker-1")
    app = make_app(WorkerSettings())
    register_tasks(app, runner, fitter)
    with runner.in_turn(None):
        in_hand = signs.occupants
    for _ in range(2):
        app.tasks[FIT].apply(args=[request.id])
    with database.read() as session:
        found = fit_requests.find(session, request.id)
    assert (found.state, found.code, found.attempts) == (RequestState.FAILED, "item_refused", 1)
    assert [one.job for one in in_hand] == [None]
    assert not signs.is_busy


def test_a_volume_that_covers_too_little_for_its_route_is_refused_with_both_figures(
    database: Database, objects: ObjectStore, instances: list[StoredInstance]
) -> None:
    text = """
version = 1
[[route]]
name = "head-mr"
analyser = "zero-shot"
match = { modality = ["MR"] }
require = { minimum_coverage_mm = 5000 }
"""
    wanted = seen(head_series(instances[0].series_instance_uid), routes=parse_routes(text.encode(), name="routes.toml"))
    job_id = queue_study(database, instances, whole=wanted)
    assert _runner(database, objects, QuickAnalyser()).run(job_id) is Outcome.FAILED
    job = _job(database, job_id)
    assert (job.state, job.code) == (JobState.FAILED, "geometry_outside_route")
    assert "minimum_coverage_mm: wanted at least 5000, found" in (job.reason or "")
