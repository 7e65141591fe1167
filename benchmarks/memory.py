"""Peak memory of a worker process that analyses CT studies of 2,000 x 512 x 512 voxels, one and two at once.

The studies are synthetic and uncompressed, the analyser is a threshold that needs mask and score map and nothing else.
Each figure comes from a process of its own, which has two threads where two studies are worked on at once, as a worker
with ``worker.prefetch`` has. The command is ``python -m benchmarks.memory [--slices N] [--json]``; Linux alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy import float32, uint16
from numpy.typing import NDArray
from pydicom.uid import UID

from storage import jobs, migrate
from storage.database import Database, connect, utc_now
from storage.domain import JobState, Segmentation, StoredInstance, Volume
from storage.objects import ObjectStore
from storage.routes.file import parse_routes
from storage.routes.series_facts import SeriesFacts
from storage.triage.policy_file import load_policy
from tests.support.analysers import ALGORITHM, ready_models
from tests.support.dicom import SeriesPlan, part10, series
from tests.support.queued import queue_study
from tests.support.routing import seen
from workers.analysers import AbortCheck
from workers.config import WorkerSettings
from workers.device_turns import DeviceTurns
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import PipelineResources

SIZE = 512
AIR, BODY, LESION = 0, 1064, 1300
"""Stored values: HU and 1024 more."""
MEGABYTE = 1e6
ROUTES = b"""
version = 1
[[route]]
name = "ct"
analyser = "zero-shot"
match = { modality = ["CT"] }
"""
_ROOM_FOR_BOTH = 1 << 40


@dataclass(frozen=True)
class ThresholdAnalyser:
    """Takes everything brighter than tissue for a lesion, slice by slice."""

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        """Return mask and score map; nothing else is as large as the volume."""
        score = np.empty(volume.voxels.shape, dtype=float32)
        for target, plane in zip(score, volume.voxels, strict=True):
            check()
            np.clip((plane - float32(200)) / float32(100), 0, 1, out=target)
        return Segmentation(score > float32(0.5), score, 0.9, 0.0, ALGORITHM)


def main() -> None:
    """Print the peak of a process that did nothing yet, of one study, and of two with and without the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    room = int(WorkerSettings().prefetch_megabytes * MEGABYTE)
    figures = {"volume, float32": arguments.slices * SIZE * SIZE * 4 / MEGABYTE}
    with tempfile.TemporaryDirectory() as folder:
        _store(Path(folder), arguments.slices)
        for name, studies, allowed in (
            ("start", 0, room),
            ("one study", 1, room),
            ("two studies", 2, room),
            ("two studies, no rule", 2, _ROOM_FOR_BOTH),
        ):
            figures[name] = _peak(Path(folder), studies, allowed)
            if not arguments.json:
                print(f"{name:<24}{figures[name]:8.0f} MB", flush=True)
    if arguments.json:
        print(json.dumps(figures))


def _peak(folder: Path, studies: int, room: int) -> float:
    """Return the peak of a fresh process that works on so many studies at once, in megabytes."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(folder, studies, room, sender))
    process.start()
    sender.close()
    peak = float(receiver.recv())
    process.join()
    return peak


def _work(folder: Path, studies: int, room: int, sender: Connection) -> None:
    database, objects = _open(folder)
    resources = PipelineResources(
        database, objects, ready_models({"zero-shot": ThresholdAnalyser()}), None, load_policy()
    )
    runner = JobRunner(resources, "benchmark", lease_seconds=3600, turns=DeviceTurns(room_bytes=room))
    chosen = [1, 2][:studies]
    with database.write() as session:
        for job_id in chosen:
            if jobs.find(session, job_id).state is JobState.SUCCEEDED:
                jobs.retry(session, job_id, actor="benchmark", now=utc_now())
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(runner.run, chosen))
    if any(outcome is not Outcome.SUCCEEDED for outcome in outcomes):
        raise SystemExit(f"not all of the studies could be analysed: {outcomes}")
    sender.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE)


def _open(folder: Path) -> tuple[Database, ObjectStore]:
    database = connect(f"sqlite:///{folder / 'oncue.sqlite'}")
    objects = ObjectStore(folder / "objects")
    objects.prepare()
    return database, objects


def _store(folder: Path, slices: int) -> None:
    """Store one CT series and queue a job for each of the studies that it stands in; all share its images."""
    database, objects = _open(folder)
    migrate.upgrade(database)
    instances = [_instance(objects, z, slices) for z in range(slices)]
    routes = parse_routes(ROUTES, name="routes.toml")
    facts = SeriesFacts(instances[0].series_instance_uid, "CT", body_part_examined="CHEST", frames=slices)
    for number in (1, 2):
        study = [replace(one, study_instance_uid=f"2.25.{number}") for one in instances]
        queue_study(database, study, whole=seen(facts, routes=routes))
    database.dispose()


def _instance(objects: ObjectStore, z: int, slices: int) -> StoredInstance:
    plan = SeriesPlan(modality="CT", shape=(1, 1, 1), spacing_mm=(0.8, 0.8, 0.8), intercept=-1024.0)
    (image,) = series(plan)
    image.SOPInstanceUID = UID(f"2.25.9.{z + 1}")
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.ImagePositionPatient, image.InstanceNumber = plan.position(z), z + 1
    pixels = _slice(z, slices)
    image.Rows, image.Columns = pixels.shape
    image.PixelData = pixels.astype("<u2").tobytes()
    content = part10(image)
    return StoredInstance(
        study_instance_uid="",
        series_instance_uid=image.SeriesInstanceUID,
        sop_instance_uid=image.SOPInstanceUID,
        sop_class_uid=image.SOPClassUID,
        transfer_syntax_uid=image.file_meta.TransferSyntaxUID,
        modality="CT",
        digest=objects.put(content),
        content_sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def _slice(z: int, slices: int) -> NDArray[uint16]:
    """Return a body with two lesions, one at either end, so that the box around both is nearly the whole body."""
    rows, columns = np.ogrid[:SIZE, :SIZE]
    plane = np.where((rows - SIZE / 2) ** 2 + (columns - SIZE / 2) ** 2 < (0.42 * SIZE) ** 2, BODY, AIR).astype(uint16)
    for centre, at in ((slices * 0.05, 150), (slices * 0.95, 350)):
        plane[(rows - at) ** 2 + (columns - at) ** 2 + (z - centre) ** 2 < 12**2] = LESION
    return plane + np.uint16(z % 7)


if __name__ == "__main__":
    main()
