"""Two jobs in the hands of one runner: one is read while the other has the device, and neither harms the other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from storage import analyses, job_messages, jobs, processes
from storage.database import Database, utc_now
from storage.domain import JobState, Lane, Segmentation, Volume
from storage.job_places import Better, better_place
from storage.models import JobRow
from storage.objects import ObjectStore
from storage.processes import Served
from storage.triage.policy_file import load_policy
from tests.support.analysers import QuickAnalyser, ready_models
from tests.support.queued import queue_study, small_phantom, stored_instances
from workers.analysers import AbortCheck, Analyser
from workers.device_turns import DeviceTurns, Step
from workers.queue.company import Company
from workers.queue.signs_of_life import SignsOfLife
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import PipelineResources

pytestmark = pytest.mark.slow

VOLUME_BYTES = 8 * 64 * 64 * 4


@dataclass(frozen=True)
class HeldDevice:
    """Computes on the first study until told to go on, and says when it began; out of memory then where asked to."""

    began: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    out_of_memory: bool = False

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        if volume.study_instance_uid == "2.25.1":
            self.began.set()
            assert self.go_on.wait(60)
            if self.out_of_memory:
                raise MemoryError
        return QuickAnalyser().segment(volume, check=check)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [*small_phantom(tmp_path_factory.mktemp("phantom")).series_folder.iterdir()]


@pytest.fixture
def job_ids(database: Database, objects: ObjectStore, files: list[Path]) -> tuple[int, int]:
    """Two queued jobs of studies of their own with the same images."""
    first = stored_instances(objects, files, study_uid="2.25.1")
    second = [replace(one, study_instance_uid="2.25.2") for one in first]
    return queue_study(database, first), queue_study(database, second)


def _runner(database: Database, objects: ObjectStore, analyser: Analyser, *, room: int = 1 << 30) -> JobRunner:
    bench = PipelineResources(database, objects, ready_models({"zero-shot": analyser}), None, load_policy(), 4)
    return JobRunner(bench, "worker-1", 30, SignsOfLife(), DeviceTurns(room_bytes=room))


def _wait_for_step(runner: JobRunner, step: Step, *, size: int) -> None:
    """Wait until a job beside the one that computes has come to a step, with so many bytes of voxels in its hands."""
    for _ in range(600):
        if any((turn.step, turn.size) == (step, size) for turn in runner.turns._inside):
            return
        runner.turns.pause()
    raise AssertionError([(turn.step, turn.size) for turn in runner.turns._inside])


def test_a_study_is_read_while_the_other_has_the_device_and_its_wait_is_a_stage_of_its_own(
    database: Database, objects: ObjectStore, job_ids: tuple[int, int]
) -> None:
    first, second = job_ids
    device = HeldDevice()
    runner = _runner(database, objects, device)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(runner.run, first)]
        assert device.began.wait(60)
        outcomes.append(pool.submit(runner.run, second))
        _wait_for_step(runner, Step.WAITING, size=VOLUME_BYTES)
        assert runner.signs is not None
        seen = {one.job: one.step for one in runner.signs.occupants}
        with database.read() as session:
            held = [jobs.find(session, job_id) for job_id in job_ids]
        device.go_on.set()
        assert [outcome.result(60) for outcome in outcomes] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]
    assert seen == {first: Step.COMPUTING, second: Step.WAITING}
    assert [job.state for job in held] == [JobState.RUNNING] * 2
    with database.read() as session:
        timings = analyses.load(session, second, objects).timings
    stages = [timing.stage for timing in timings]
    assert stages[:6] == ["load", "select", "wait", "volume", "wait", "guard"]


def test_a_job_that_runs_out_of_memory_fails_alone_and_is_tried_again_without_company(
    database: Database, objects: ObjectStore, job_ids: tuple[int, int]
) -> None:
    first, second = job_ids
    device = HeldDevice(out_of_memory=True)
    runner = _runner(database, objects, device)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(runner.run, first)]
        assert device.began.wait(60)
        outcomes.append(pool.submit(runner.run, second))
        _wait_for_step(runner, Step.WAITING, size=VOLUME_BYTES)
        device.go_on.set()
        assert [outcome.result(60) for outcome in outcomes] == [Outcome.FAILED, Outcome.SUCCEEDED]
    with database.read() as session:
        assert jobs.find(session, first).code == "out_of_device_memory"
    assert Company(database, "worker-1", runner.turns).must_be_alone(first)


def test_a_volume_too_large_for_two_is_not_read_while_another_is_in_memory(
    database: Database, objects: ObjectStore, job_ids: tuple[int, int]
) -> None:
    first, second = job_ids
    device = HeldDevice()
    runner = _runner(database, objects, device, room=VOLUME_BYTES)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(runner.run, first)]
        assert device.began.wait(60)
        outcomes.append(pool.submit(runner.run, second))
        _wait_for_step(runner, Step.WAITING, size=0)
        device.go_on.set()
        assert [outcome.result(60) for outcome in outcomes] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]


def test_a_job_is_better_off_with_an_idle_worker_or_behind_an_urgent_one(
    database: Database, job_ids: tuple[int, int]
) -> None:
    first, second = job_ids
    with database.write() as session:
        for name in ("worker-1", "worker-2"):
            served = [Served("default", "zero-shot" if name == "worker-1" else "other")]
            processes.start(session, name, "worker", now=utc_now(), serves=served)
        jobs.claim(session, second, owner="worker-1", lease_seconds=60, now=utc_now())
        assert better_place(session, second, owner="worker-1", now=utc_now()) is None
        session.get_one(JobRow, first).lane = Lane.STAT.value
        assert better_place(session, second, owner="worker-1", now=utc_now()) is None, "it is not published yet"
        job_messages.published(session, first, now=utc_now())
        assert better_place(session, second, owner="worker-1", now=utc_now()) is Better.MORE_URGENT
        processes.start(session, "worker-3", "worker", now=utc_now(), serves=[Served("default", "zero-shot")])
        assert better_place(session, second, owner="worker-1", now=utc_now()) is Better.IDLE_WORKER
        jobs.claim(session, first, owner="worker-3", lease_seconds=60, now=utc_now())
        assert better_place(session, second, owner="worker-1", now=utc_now()) is None
