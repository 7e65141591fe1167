"""Who is to blame where a worker's process dies with two jobs in hand."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from storage.config import StorageSettings
from workers.config import WorkerSettings
from workers.device_turns import Step
from workers.queue.child import WorkerPlace
from workers.queue.signs_of_life import SignsOfLife
from workers.queue.supervisor import Supervisor, WorkerChild


@pytest.mark.parametrize(
    ("limit", "steps", "innocent"),
    [
        pytest.param(60.0, (Step.COMPUTING, Step.WAITING), {2}, id="died while one waited"),
        pytest.param(60.0, (Step.COMPUTING, Step.READING), set(), id="died while both were at work"),
        pytest.param(1e-9, (Step.COMPUTING, Step.WAITING), {2}, id="overdue"),
    ],
)
def test_a_job_that_did_nothing_when_the_process_died_is_innocent(
    tmp_path: Path, limit: float, steps: tuple[Step, Step], innocent: set[int]
) -> None:
    place = WorkerPlace(WorkerSettings(time_limit_seconds=limit), StorageSettings(), tmp_path)
    supervisor = Supervisor(place, broker_answers=lambda: True)
    signs = SignsOfLife()
    child: Any = WorkerChild(multiprocessing.get_context("spawn").Process(), "w", signs, multiprocessing.Pipe()[0], 0.0)
    with signs.at_work(1) as first, signs.at_work(2) as second:
        for work, step in zip((first, second), steps, strict=True):
            work.mark(step)
        assert supervisor._innocent(child) == innocent
