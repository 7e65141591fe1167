"""Workers, Redis and messages lost in every way: each job is done exactly once, or ends with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from storage import analyses, audit, jobs
from storage.database import utc_now
from storage.domain import Lane
from storage.result_tables import AnalysisRow
from storage.states import JobState
from tests.support.pool import Floor, kill, work_floor
from tests.support.proving import problems
from workers.queue.app import make_app
from workers.queue.publisher import Publisher

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    monkeypatch.setenv("ONCUE_TEST_GATE", str(folder))
    return folder


@pytest.fixture
def floor(tmp_path: Path) -> Iterator[Floor]:
    with work_floor(tmp_path) as floor:
        yield floor


def _events(floor: Floor, job_id: int, tag: str) -> int:
    with floor.database.read() as session:
        return len(audit.history(session, subject=f"job/{job_id}", tag=tag))


def _begun(gate: Path) -> list[int]:
    return [int(path.name.removeprefix("began-")) for path in gate.glob("began-*")]


def test_a_queued_study_is_analysed_and_its_stages_are_timed(floor: Floor) -> None:
    job_id = floor.queue()
    floor.start_relay()
    floor.start_worker()
    floor.wait_for_state(job_id, JobState.SUCCEEDED)
    job = floor.job(job_id)
    with floor.database.read() as session:
        analysis = analyses.load(session, job_id, floor.objects)
    assert problems(floor.database) == ()
    stages = [timing.stage for timing in analysis.timings]
    read, computed = ["load", "select", "wait", "volume"], ["wait", "guard", "segment", "classify"]
    assert stages == [*read, *computed, "overlay", "triage", "commit"]
    assert job.attempts == 1
    assert analysis.label_map is not None
    assert analysis.overlays


def test_a_killed_worker_costs_one_attempt_and_the_job_is_done_once(gate: Path, tmp_path: Path) -> None:
    with work_floor(tmp_path, analysers={"zero-shot": "tests.support.analysers:build_gated"}) as floor:
        job_id = floor.queue()
        floor.start_relay()
        floor.start_worker()
        floor.wait_until(lambda: len(_begun(gate)) == 1)
        kill(_begun(gate)[0])
        (gate / "open").touch()
        job = floor.wait_for_state(job_id, JobState.SUCCEEDED)
        assert job.attempts == 2
        assert _events(floor, job_id, "job:succeeded") == 1
        assert _events(floor, job_id, "job:lease-expired") == 1


def test_a_poison_study_fails_after_three_dead_workers_and_can_be_retried(gate: Path, tmp_path: Path) -> None:
    with work_floor(tmp_path, analysers={"zero-shot": "tests.support.analysers:build_poison"}) as floor:
        job_id = floor.queue()
        floor.start_relay()
        floor.start_worker()
        job = floor.wait_for_state(job_id, JobState.FAILED, seconds=120)
        assert (job.code, job.attempts) == ("worker_lost", 3)
        (gate / "open").touch()
        with floor.database.write() as session:
            jobs.retry(session, job_id, actor="operator", now=utc_now())
        assert floor.wait_for_state(job_id, JobState.SUCCEEDED).attempts == 1


def test_redis_flushed_in_mid_queue_loses_no_job(floor: Floor) -> None:
    floor.start_relay()
    floor.wait_until(lambda: bool(floor.redis().exists("oncue:relay:marker")))
    job_ids = [floor.queue(study=f"{number}", lane=list(Lane)[number % 3]) for number in range(6)]
    floor.wait_until(lambda: _queued_messages(floor) == 6)
    floor.redis().flushall()
    floor.start_worker()
    for job_id in job_ids:
        floor.wait_for_state(job_id, JobState.SUCCEEDED)
    assert all(_events(floor, job_id, "job:message-lost") == 1 for job_id in job_ids)
    assert all(_events(floor, job_id, "job:succeeded") == 1 for job_id in job_ids)


def test_a_message_that_comes_five_times_makes_one_analysis(floor: Floor) -> None:
    job_id = floor.queue()
    publisher = Publisher(make_app(floor.place.workers))
    for _ in range(5):
        publisher.publish(job_id, Lane.ROUTINE)
    publisher.close()
    floor.start_worker()
    floor.wait_for_state(job_id, JobState.SUCCEEDED)
    floor.wait_until(lambda: _queued_messages(floor) == 0 and floor.redis().hlen("unacked") == 0)
    with floor.database.read() as session:
        assert session.scalar(select(func.count()).select_from(AnalysisRow)) == 1
    assert _events(floor, job_id, "job:claimed") == 1


def test_a_job_beyond_the_time_limit_has_its_worker_replaced(gate: Path, tmp_path: Path) -> None:
    gated = {"zero-shot": "tests.support.analysers:build_gated"}
    with work_floor(tmp_path, analysers=gated, time_limit_seconds=8.0) as floor:
        job_id = floor.queue()
        floor.start_relay()
        floor.start_worker()
        floor.wait_until(lambda: len(_begun(gate)) == 2)
        (gate / "open").touch()
        job = floor.wait_for_state(job_id, JobState.SUCCEEDED)
        assert job.attempts >= 2
        assert len(set(_begun(gate))) >= 2


def test_a_stopping_worker_finishes_its_job_first(gate: Path, tmp_path: Path) -> None:
    with work_floor(
        tmp_path, analysers={"zero-shot": "tests.support.analysers:build_gated"}, grace_seconds=30.0
    ) as floor:
        job_id = floor.queue()
        floor.start_relay()
        stop = floor.start_worker()
        floor.wait_until(lambda: len(_begun(gate)) == 1)
        stop.set()
        (gate / "open").touch()
        floor.stop()
        job = floor.job(job_id)
        assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)


def test_a_worker_with_wrong_weights_refuses_to_start_and_its_jobs_stay_queued(tmp_path: Path) -> None:
    with work_floor(tmp_path, analysers={"zero-shot": "tests.support.analysers:build_mismatched"}) as floor:
        job_id = floor.queue()
        floor.start_worker()
        floor.wait_until(lambda: bool(floor.refusals))
        assert [error.code for error in floor.refusals] == ["weights_mismatch"]
        assert (floor.job(job_id).state, floor.job(job_id).attempts) == (JobState.QUEUED, 0)
        with floor.database.read() as session:
            assert len(audit.history(session, tag="process:refused")) == 1


def test_redis_down_when_a_job_opens_only_delays_it(floor: Floor) -> None:
    floor.start_relay()
    floor.start_worker()
    floor.wait_for_worker()
    floor.broker.stop()
    job_id = floor.queue()
    floor.broker.start()
    floor.wait_for_state(job_id, JobState.SUCCEEDED, seconds=90)
    assert _events(floor, job_id, "job:succeeded") == 1


def _queued_messages(floor: Floor) -> int:
    redis = floor.redis()
    return sum(int(redis.llen(lane.value)) for lane in Lane)


def test_a_worker_that_no_longer_polls_is_replaced(tmp_path: Path) -> None:
    with work_floor(tmp_path, silence_seconds=3.0) as floor:
        floor.start_worker()
        floor.wait_until(lambda: _asks_for_work(floor))
        child = _child_pid()
        psutil.Process(child).suspend()
        floor.wait_until(lambda: _child_pid() not in (0, child))
        job_id = floor.queue()
        floor.start_relay()
        floor.wait_for_state(job_id, JobState.SUCCEEDED)


def _asks_for_work(floor: Floor) -> bool:
    """Whether a worker waits at the queues: one that is only being started is held against another limit."""
    return any(client["cmd"] == "brpop" for client in floor.redis().client_list())


def _child_pid() -> int:
    """Return the worker's living child of this test process, 0 where there is none."""
    for child in psutil.Process().children():
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                return child.pid
        except psutil.Error:
            continue  # it ended between the two looks
    return 0
