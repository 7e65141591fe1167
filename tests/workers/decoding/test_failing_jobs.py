"""What becomes of a job whose images break their codec, and of the jobs beside it.

Each fault on SQLite and one of them on PostgreSQL: what breaks a codec is nothing that a database could tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from storage import job_lists
from storage.database import Database
from storage.objects import ObjectStore
from storage.states import JobState
from storage.triage.policy_file import load_policy
from tests.support import faulty_decoder as faulty
from tests.support.analysers import QuickAnalyser, ready_models
from tests.support.queued import queue_study, small_phantom, stored_instances
from workers.decoding.decoders import Decoders
from workers.decoding.limits import DecodingLimits
from workers.imaging import pixels
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import PipelineResources

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the slices of a small head, compressed."""
    found = sorted(small_phantom(tmp_path_factory.mktemp("phantom")).series_folder.iterdir())
    for path in found:
        dataset = pydicom.dcmread(path)
        dataset.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
        dataset.save_as(path)
    return found


@pytest.fixture(autouse=True)
def _faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    limits = DecodingLimits(base_bytes=100_000_000, base_seconds=1)
    decoders = Decoders(most=2, limits=limits, program="tests.support.faulty_decoder")
    monkeypatch.setattr(pixels, "process_decoders", lambda: decoders)
    yield
    decoders.close()


def _broken(files: list[Path], fault: bytes, folder: Path) -> list[Path]:
    """Return copies of the files of which one makes its codec fail."""
    folder.mkdir()
    for path in files:
        dataset = pydicom.dcmread(path)
        if path == files[3]:
            (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
            dataset.PixelData = encapsulate([frame + fault])
        dataset.save_as(folder / path.name)
    return sorted(folder.iterdir())


def _runner(database: Database, objects: ObjectStore) -> JobRunner:
    bench = PipelineResources(
        database, objects, ready_models({"zero-shot": QuickAnalyser()}), None, load_policy(), overlay_slices=4
    )
    return JobRunner(bench, "worker-1", lease_seconds=30)


@pytest.mark.parametrize(
    ("database_url", "fault", "code"),
    [
        ("sqlite", faulty.CRASH, "decoder_crashed"),
        pytest.param("postgresql", faulty.CRASH, "decoder_crashed", marks=pytest.mark.peer),
        ("sqlite", faulty.SPIN, "decoder_too_slow"),
        ("sqlite", faulty.EAT, "decoder_out_of_memory"),
    ],
    indirect=["database_url"],
)
def test_a_codec_that_fails_ends_its_job_with_a_code_and_no_other(
    database: Database, objects: ObjectStore, files: list[Path], tmp_path: Path, *, fault: bytes, code: str
) -> None:
    broken = stored_instances(objects, _broken(files, fault, tmp_path / "broken"), study_uid="2.25.1")
    hurt = queue_study(database, broken)
    well = queue_study(database, stored_instances(objects, files, study_uid="2.25.2"))
    runner = _runner(database, objects)
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(runner.run, (hurt, well)))
    assert outcomes == [Outcome.FAILED, Outcome.SUCCEEDED]
    with database.read() as session:
        job = job_lists.find(session, hurt)
    assert (job.state, job.code) == (JobState.FAILED, code)
    assert f"object {broken[3].digest[:12]}" in (job.reason or "")
