"""Jobs per second of a real worker over a real Redis, with and without the next study being read meanwhile.

The device is held for half a second, and reading and writing take a quarter of a second each, as from slow disks: all
three sleep, so that two busy cores do not blur what is measured. All else is the product's own: relay, Redis, leases,
a child process under its supervisor. The command is ``python -m benchmarks.pipeline --overlap``.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from storage import arrays
from storage.domain import Segmentation
from storage.states import JobState
from storage.volumes import Volume
from tests.support.analysers import QuickAnalyser
from tests.support.pool import Floor, work_floor
from workers import pipeline
from workers.analysers import AbortCheck, Analyser
from workers.config import WorkerSettings

DEVICE_SECONDS = 0.5
READ_SECONDS = 0.25
WRITE_SECONDS = 0.25
WANTED_RATIO = 1.7

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


@dataclass(frozen=True)
class SlowDevice:
    """Holds the device for half a second."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        """Return the brightest voxels, late."""
        time.sleep(DEVICE_SECONDS)
        return QuickAnalyser().segment(volume, check=check)


def build_slow(_settings: WorkerSettings) -> Analyser:
    """Return the analyser, in a process whose disks are slow from now on."""
    pipeline.read_inputs = _slow(pipeline.read_inputs, READ_SECONDS)  # type: ignore[attr-defined]  # not exported
    arrays.save_grid = _slow(arrays.save_grid, WRITE_SECONDS)
    return SlowDevice()


def throughput(jobs: int, *, prefetch: bool) -> float:
    """Return the jobs per second of one worker that finds so many jobs in its queue."""
    analysers = {"zero-shot": "benchmarks.overlap:build_slow"}
    with (
        tempfile.TemporaryDirectory() as folder,
        work_floor(Path(folder), analysers=analysers, prefetch=prefetch, overlay_slices=1) as floor,
    ):
        ids = [floor.queue(study=f"{number}") for number in range(1, jobs + 1)]
        floor.start_relay()
        floor.wait_until(lambda: floor.redis().llen("routine") == jobs)
        floor.start_worker()
        for job_id in ids:
            floor.wait_for_state(job_id, JobState.SUCCEEDED, seconds=120)
        return jobs / _seconds(floor, ids)


def _seconds(floor: Floor, ids: list[int]) -> float:
    """Return the time from the first claim to the last result, without the worker's start."""
    found = [floor.job(job_id) for job_id in ids]
    started: list[datetime] = [job.started_at for job in found if job.started_at]
    finished: list[datetime] = [job.finished_at for job in found if job.finished_at]
    return (max(finished) - min(started)).total_seconds()


def _slow(function: Callable[Parameters, Returned], seconds: float) -> Callable[Parameters, Returned]:
    @wraps(function)
    def slowed(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        time.sleep(seconds)
        return function(*args, **kwargs)

    return slowed
