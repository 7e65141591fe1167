"""What becomes of a job whose model draws organs, with lesions or alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from storage import analyses, jobs, reports, worklist
from storage.database import Database, utc_now
from storage.domain import (
    Analysis,
    Code,
    JobState,
    LabelEntry,
    LabelledGrid,
    LabelRole,
    Presence,
    Priority,
    Segmentation,
    Site,
    StoredInstance,
    Volume,
)
from storage.objects import ObjectStore
from storage.triage.policy_file import load_policy
from tests.support.analysers import ALGORITHM, ready_models
from tests.support.queued import queue_study, small_phantom, stored_instances
from workers.analysers import AbortCheck
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import PipelineResources

BRAIN, EYE = Code("12738006", "SCT", "Brain"), Code("81745001", "SCT", "Eye")
LEFT, RIGHT = Code("7771000", "SCT", "Left"), Code("24028007", "SCT", "Right")
TUMOUR = LabelEntry(4, "brain tumour", LabelRole.LESION, Code("108369006", "SCT", "Neoplasm"), site=Site(BRAIN))
ORGANS = (
    LabelEntry(1, "brain", LabelRole.ORGAN, BRAIN),
    LabelEntry(2, "eye_left", LabelRole.ORGAN, EYE, LEFT),
    LabelEntry(3, "eye_right", LabelRole.ORGAN, EYE, RIGHT),
)


@dataclass
class OrganAnalyser:
    """Draws boxes for the labels that it is told to draw, of the table that it has."""

    table: tuple[LabelEntry, ...]
    drawn: Sequence[int]

    def segment(self, volume: Volume, *, check: AbortCheck) -> Segmentation:
        check()
        labels = np.zeros(volume.voxels.shape, dtype=np.uint8)
        boxes = {
            1: np.s_[1:7, 10:40, 10:54],
            2: np.s_[3:5, 44:50, 40:46],
            3: np.s_[3:5, 44:50, 18:24],
            4: np.s_[3:6, 20:30, 20:30],
        }
        for value in self.drawn:
            labels[boxes[value]] = value
        mask = labels == TUMOUR.value
        grid = LabelledGrid(labels, self.table)
        return Segmentation(mask, mask.astype(np.float32), 0.9 if mask.any() else 0.1, 0.0, ALGORITHM, labelled=grid)


@dataclass(frozen=True)
class Bench:
    """A database with one queued study, and what runs its job."""

    database: Database
    objects: ObjectStore
    job_id: int

    def run(self, analyser: OrganAnalyser) -> Analysis:
        resources = PipelineResources(
            self.database, self.objects, ready_models({"zero-shot": analyser}), None, load_policy(), 4
        )
        assert JobRunner(resources, "worker-1", lease_seconds=30).run(self.job_id) is Outcome.SUCCEEDED
        with self.database.read() as session:
            return analyses.load(session, self.job_id, self.objects)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(small_phantom(tmp_path_factory.mktemp("phantom")).series_folder.iterdir())


@pytest.fixture
def bench(database: Database, objects: ObjectStore, files: list[Path]) -> Bench:
    instances: list[StoredInstance] = stored_instances(objects, files, study_uid="2.25.1")
    return Bench(database, objects, queue_study(database, instances))


def test_organs_and_lesions_come_into_one_result(bench: Bench) -> None:
    analysis = bench.run(OrganAnalyser((*ORGANS, TUMOUR), (1, 2, 3, 4)))
    (tumour,) = analysis.findings
    assert (tumour.concept.meaning, tumour.site, tumour.presence) == ("Neoplasm", Site(BRAIN), Presence.PRESENT)
    assert [(one.number, one.name, one.lesions) for one in analysis.structures] == [
        (2, "brain", (1,)),
        (3, "eye_left", ()),
        (4, "eye_right", ()),
    ]
    assert analysis.label_map is not None
    assert set(np.unique(analysis.label_map.labels)) == {0, 1, 2, 3, 4}
    assert len(_colours(bench.objects.get(analysis.overlays[0]))) >= 3


def test_a_retried_job_replaces_its_organs(bench: Bench) -> None:
    first = bench.run(OrganAnalyser((*ORGANS, TUMOUR), (1, 2, 3, 4)))
    with bench.database.write() as session:
        jobs.retry(session, bench.job_id, actor="operator", now=utc_now())
    second = bench.run(OrganAnalyser((*ORGANS, TUMOUR), (1, 4)))
    assert [one.name for one in second.structures] == ["brain"]
    assert second.structures[0].tracking_uid == first.structures[0].tracking_uid


def test_a_model_of_organs_alone_gets_its_priority_from_no_finding(bench: Bench) -> None:
    analysis = bench.run(OrganAnalyser(ORGANS, (1, 2)))
    assert analysis.findings == ()
    assert [one.number for one in analysis.structures] == [1, 2]
    assert analysis.label_map is not None
    assert (analysis.decision.priority, analysis.decision.rule) == (Priority.ROUTINE, "nothing conspicuous")
    assert analysis.withheld is None
    with bench.database.read() as session:
        entry = worklist.find(session, 1)
        assert len(reports.due(session, now=utc_now())) == 1
    assert (entry.finding, entry.priority, entry.confidence) == (None, Priority.ROUTINE, None)


def test_a_model_of_organs_alone_that_drew_none_is_kept_and_not_sent(bench: Bench) -> None:
    analysis = bench.run(OrganAnalyser(ORGANS, ()))
    assert (analysis.findings, analysis.structures, analysis.label_map) == ((), (), None)
    assert analysis.withheld == "nothing_drawn"
    with bench.database.read() as session:
        assert jobs.find(session, bench.job_id).state is JobState.SUCCEEDED
        assert reports.due(session, now=utc_now()) == ()


def test_organs_without_a_lesion_are_kept_beside_the_statement_of_absence(bench: Bench) -> None:
    analysis = bench.run(OrganAnalyser((*ORGANS, TUMOUR), (1, 2)))
    (absent,) = analysis.findings
    assert (absent.presence, absent.concept.meaning) == (Presence.ABSENT, "Neoplasm")
    assert [one.number for one in analysis.structures] == [1, 2]
    assert analysis.label_map is not None


def _colours(png: bytes) -> set[tuple[int, ...]]:
    """Return the colours of a picture that are no greys."""
    pixels: NDArray[np.uint8] = np.array(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return {tuple(int(value) for value in pixel) for pixel in np.unique(pixels, axis=0) if len(set(pixel.tolist())) > 1}
