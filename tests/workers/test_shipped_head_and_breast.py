"""Jobs of the shipped routes for heads with contrast and for breasts, from stored images to what is kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lab.training.families import breast_masses, sonography
from lab.training.fields import FieldBank
from lab.training.outlines import Canvas
from phantom.head import head_phantom
from storage import analyses
from storage.database import Database
from storage.domain import Analysis, Presence
from storage.objects import ObjectStore
from storage.routes.series_facts import SeriesFacts
from tests.support.dicom import SeriesPlan, put, series
from tests.support.flat_sources import US, store_flat
from tests.support.queued import queue_study
from tests.support.routing import seen
from workers.config import WorkerSettings
from workers.queue.tasks import JobRunner, Outcome
from workers.resources import open_resources

SETTINGS = WorkerSettings(
    analysers={"zero-shot": "tests.support.analysers:build_quick"},
    classify=False,
    guard=False,
    device="cpu",
    dtype="float32",
)


@dataclass(frozen=True, slots=True)
class _Head(SeriesPlan):
    """A head with a meningioma-like mass, as T1 with contrast."""

    shape: tuple[int, int, int] = (8, 96, 96)
    spacing_mm: tuple[float, float, float] = (5.0, 2.4, 2.4)
    stored: NDArray[np.float32] = field(default_factory=lambda: np.zeros((8, 96, 96), np.float32))

    def values(self) -> NDArray[np.uint16]:
        return self.stored.astype(np.uint16)


def head(description: str) -> list[Dataset]:
    phantom = head_phantom(seed=4, slices=8, size=96, lesion=False)
    z, y, x = np.indices(phantom.voxels.shape)
    mass = (y - 36) ** 2 + (x - 62) ** 2 + 4 * (z - 4) ** 2 < 80
    voxels = np.where(mass, 2.0 * np.percentile(phantom.voxels, 90), phantom.voxels)
    stored = np.clip(voxels / voxels.max() * 1000, 0, 1000).astype(np.float32)
    return series(_Head(key=description, description=description, stored=stored))


def analysed(
    database: Database, objects: ObjectStore, state: Path, facts: SeriesFacts, images: list[Dataset]
) -> Analysis:
    """Return what the shipped routes make of a series."""
    job_id = queue_study(database, [put(objects, image) for image in images], whole=seen(facts))
    resources = open_resources(SETTINGS, database, objects, actor="worker-1", state=state)
    assert JobRunner(resources, "worker-1", lease_seconds=60).run(job_id) is Outcome.SUCCEEDED
    with database.read() as session:
        return analyses.load(session, job_id, objects)


@pytest.mark.parametrize(
    ("description", "contrast", "route", "algorithm"),
    [("AX T1", True, "head-mr-contrast", "oncue-family"), ("AX FLAIR", False, "head-mr", "threshold")],
)
def test_a_head_with_contrast_goes_to_its_family_and_a_flair_where_it_always_went(
    sqlite_database: Database,
    objects: ObjectStore,
    tmp_path: Path,
    *,
    description: str,
    contrast: bool,
    route: str,
    algorithm: str,
) -> None:
    images = head(description)
    facts = SeriesFacts(
        str(images[0].SeriesInstanceUID),
        "MR",
        body_part_examined="HEAD",
        series_description=description,
        frames=len(images),
        contrast=contrast,
    )
    analysis = analysed(sqlite_database, objects, tmp_path, facts, images)
    assert analysis.route == route
    assert algorithm in analysis.algorithm.name
    if algorithm == "oncue-family":
        assert '"family": "head-mr"' in analysis.algorithm.parameters
        assert '"prompt": "tumor"' in analysis.algorithm.parameters


def painted_breast(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return a drawn breast with a painted mass, and where that lies."""
    grey = torch.from_numpy((sonography.draw(seed, 128)[None] + 1.0) / 2.0)
    room = torch.ones_like(grey, dtype=torch.bool)
    canvas = Canvas(grey, room, room, grey.new_full((1, 1, 1, 1), 0.4), torch.zeros(1, dtype=torch.bool))
    rng = np.random.default_rng(seed)
    found = breast_masses.paint(canvas, FieldBank(rng, size=128, count=2), rng)
    return (found.grey[0, 0].numpy() * 255).astype(np.uint8), found.masks[0, 0].numpy() > 0


def test_a_still_of_a_breast_gets_a_mask_of_its_mass(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    still, mass = painted_breast(11)
    dataset = store_flat(
        US, objects, Rows=128, Columns=128, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
        PixelData=still.tobytes(), PlanarConfiguration=None, SequenceOfUltrasoundRegions=None,
    ).dataset  # fmt: skip # reads by its lines
    facts = SeriesFacts(str(dataset.SeriesInstanceUID), "US", body_part_examined="BREAST", frames=1)
    analysis = analysed(sqlite_database, objects, tmp_path, facts, [dataset])
    assert (analysis.route, analysis.algorithm.name) == ("breast-us", "oncue-family")
    assert {finding.presence for finding in analysis.findings} == {Presence.PRESENT}
    assert analysis.label_map is not None
    found = analysis.label_map.labels[0] > 0
    assert 2 * (found & mass).sum() / (found.sum() + mass.sum()) > 0.5
