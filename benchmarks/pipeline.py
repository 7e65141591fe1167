"""Seconds per study, stage by stage, with the shipped weights on phantom studies.

The command is ``python -m benchmarks.pipeline [--studies N] [--json]``. Models are loaded before the clock starts.
With ``--overlap`` jobs per second of a worker that reads the next study meanwhile and of one that does not, N jobs
each (``benchmarks.overlap``); exit code 1 where the ratio is below 1.7.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import overlap
from phantom.study import write_phantom_study
from storage import analyses, job_lists, migrate
from storage.database import Database, connect
from storage.domain import StageTiming
from storage.objects import ObjectStore
from tests.support.queued import queue_study, stored_instances
from workers.config import WorkerSettings
from workers.queue.tasks import JobRunner
from workers.resources import open_resources


def main() -> None:
    """Analyse the studies one after the other and print the median of each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=3)
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--overlap", action="store_true")
    arguments = parser.parse_args()
    if arguments.overlap:
        raise SystemExit(_overlap(max(arguments.studies, 20), as_json=arguments.json))
    with tempfile.TemporaryDirectory() as folder:
        timings, load_seconds = _measure(Path(folder), arguments.studies, slices=arguments.slices, size=arguments.size)
    stages = {
        stage: statistics.median(t.seconds for study in timings for t in study if t.stage == stage)
        for stage in dict.fromkeys(t.stage for study in timings for t in study)
    }
    total = statistics.median(sum(t.seconds for t in study) for study in timings)
    if arguments.json:
        print(json.dumps({"load_models": load_seconds, "stages": stages, "study": total, "studies": len(timings)}))
        return
    print(f"{'models (once)':<16}{load_seconds:8.2f} s")
    for stage, seconds in stages.items():
        print(f"{stage:<16}{seconds:8.2f} s")
    print(f"{'study (median)':<16}{total:8.2f} s   of {len(timings)}")


def _overlap(jobs: int, *, as_json: bool) -> int:
    apart, together = (overlap.throughput(jobs, prefetch=prefetch) for prefetch in (False, True))
    ratio = together / apart
    if as_json:
        print(json.dumps({"sequential": apart, "overlapping": together, "ratio": ratio, "jobs": jobs}))
    else:
        print(f"one after the other {apart:6.2f} jobs/s\noverlapping         {together:6.2f} jobs/s")
        print(f"ratio               {ratio:6.2f}   of {jobs} jobs each, at least {overlap.WANTED_RATIO} wanted")
    return int(ratio < overlap.WANTED_RATIO)


def _measure(folder: Path, studies: int, *, slices: int, size: int) -> tuple[list[tuple[StageTiming, ...]], float]:
    database = connect(f"sqlite:///{folder / 'oncue.sqlite'}")
    migrate.upgrade(database)
    objects = ObjectStore(folder / "objects")
    objects.prepare()
    started = time.perf_counter()
    resources = open_resources(WorkerSettings(), database, objects, actor="benchmark", state=folder)
    load_seconds = time.perf_counter() - started
    runner = JobRunner(resources, "benchmark", lease_seconds=3600)
    timings = []
    for seed in range(studies):
        phantom = write_phantom_study(folder / str(seed), seed=seed, slices=slices, size=size)
        files = [*phantom.series_folder.iterdir(), *phantom.localizer_folder.iterdir()]
        instances = stored_instances(objects, files, study_uid=phantom.study_instance_uid)
        timings.append(_timed(database, objects, runner, queue_study(database, instances)))
    database.dispose()
    return timings, load_seconds


def _timed(database: Database, objects: ObjectStore, runner: JobRunner, job_id: int) -> tuple[StageTiming, ...]:
    runner.run(job_id)
    with database.read() as session:
        job = job_lists.find(session, job_id)
        if job.code is not None:
            raise SystemExit(f"the study failed: {job.code}: {job.reason}")
        return analyses.load(session, job_id, objects).timings


if __name__ == "__main__":
    main()
