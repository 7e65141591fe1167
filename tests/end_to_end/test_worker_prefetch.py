"""Two jobs in one worker's hands, over a real Redis: they overlap, and what befalls one leaves the other alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import audit
from storage.domain import Lane
from storage.states import JobState
from tests.support.pool import Floor, work_floor

pytestmark = [pytest.mark.peer, pytest.mark.slow]

GATED = {"zero-shot": "tests.support.analysers:build_gated"}


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    monkeypatch.setenv("ONCUE_TEST_GATE", str(folder))
    return folder


@pytest.fixture
def floor(gate: Path, tmp_path: Path) -> Iterator[Floor]:
    """A floor whose worker has its device busy with job 1 until the gate opens."""
    with work_floor(tmp_path, analysers=GATED, grace_seconds=60.0) as floor:
        floor.start_relay()
        assert floor.queue(study="1") == 1
        floor.start_worker()
        floor.wait_until(lambda: len(_begun(gate)) == 1)
        yield floor


def _begun(gate: Path) -> list[int]:
    return [int(path.name.removeprefix("began-")) for path in gate.glob("began-*")]


def _is_running(floor: Floor, job_id: int) -> bool:
    return floor.job(job_id).state is JobState.RUNNING


def _handed_back(floor: Floor, job_id: int) -> list[str]:
    with floor.database.read() as session:
        events = audit.history(session, subject=f"job/{job_id}", tag="job:handed-back")
    return [json.loads(event.details)["reason"] for event in events]


def test_a_busy_worker_takes_a_second_job_under_a_lease_of_its_own_and_ends_with_both(gate: Path, floor: Floor) -> None:
    second = floor.queue(study="2")
    floor.wait_until(lambda: _is_running(floor, second))
    assert floor.job(1).lease_owner == floor.job(second).lease_owner
    (_, stop) = floor.threads[-1]
    stop.set()
    (gate / "open").touch()
    floor.stop()
    assert [(floor.job(job).state, floor.job(job).attempts) for job in (1, second)] == [(JobState.SUCCEEDED, 1)] * 2
    assert floor.redis().hlen("unacked") == 0


def test_a_job_that_waits_behind_a_long_one_moves_to_an_idle_worker(gate: Path, floor: Floor) -> None:
    second = floor.queue(study="2")
    floor.wait_until(lambda: _is_running(floor, second))
    floor.start_worker()
    floor.wait_until(lambda: len(_begun(gate)) == 2)
    assert _handed_back(floor, second) == ["idle-worker"]
    assert floor.job(1).lease_owner != floor.job(second).lease_owner
    (gate / "open").touch()
    for job_id in (1, second):
        assert floor.wait_for_state(job_id, JobState.SUCCEEDED).attempts == 1


def test_an_urgent_job_takes_the_place_of_one_that_waits(gate: Path, floor: Floor) -> None:
    waiting = floor.queue(study="2", lane=Lane.BATCH)
    floor.wait_until(lambda: _is_running(floor, waiting))
    urgent = floor.queue(study="3", lane=Lane.STAT)
    floor.wait_until(lambda: _is_running(floor, urgent))
    assert set(_handed_back(floor, waiting)) == {"more-urgent"}
    (gate / "open").touch()
    for job_id in (1, waiting, urgent):
        assert floor.wait_for_state(job_id, JobState.SUCCEEDED).attempts == 1


def test_a_job_that_hangs_three_times_fails_and_the_one_beside_it_loses_no_attempt(gate: Path, tmp_path: Path) -> None:
    (gate / "hangs").write_text("2.25.1")
    hanging = {"zero-shot": "tests.support.analysers:build_hanging"}
    with work_floor(tmp_path, analysers=hanging, time_limit_seconds=8.0) as floor:
        floor.start_relay()
        hangs = floor.queue(study="1")
        floor.start_worker()
        floor.wait_until(lambda: len(_begun(gate)) == 1)
        innocent = floor.queue(study="2")
        floor.wait_until(lambda: _is_running(floor, innocent))
        job = floor.wait_for_state(hangs, JobState.FAILED, seconds=150)
        assert (job.code, job.attempts) == ("worker_lost", 3)
        assert floor.wait_for_state(innocent, JobState.SUCCEEDED).attempts == 1
        assert _handed_back(floor, innocent) == ["worker-lost"]
