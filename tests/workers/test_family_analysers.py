"""Jobs of the shipped routes for limbs: a drawn thigh in PET, from stored images to what is kept and sent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage import analyses, reports
from storage.database import Database, utc_now
from storage.domain import Analysis, Presence
from storage.explanations import Tile
from storage.objects import ObjectStore
from storage.routes.series_facts import SeriesFacts
from tests.support.dicom import put
from tests.support.limb_phantoms import LimbPhantom, limb_phantom
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


def analysed(database: Database, objects: ObjectStore, state: Path, phantom: LimbPhantom) -> tuple[Analysis, bool]:
    """Return what the shipped routes make of a phantom, and whether it is to be reported."""
    instances = [put(objects, image) for image in phantom.study("thigh")]
    uid, description = instances[0].series_instance_uid, {"PT": "PET AC", "MR": "AX T1", "CT": "CT AC"}
    facts = SeriesFacts(
        uid,
        phantom.modality,
        body_part_examined="THIGH",
        series_description=description[phantom.modality],
        frames=len(instances),
    )
    job_id = queue_study(database, instances, whole=seen(facts))
    resources = open_resources(SETTINGS, database, objects, actor="worker-1", state=state)
    assert JobRunner(resources, "worker-1", lease_seconds=60).run(job_id) is Outcome.SUCCEEDED
    with database.read() as session:
        return analyses.load(session, job_id, objects), bool(reports.due(session, now=utc_now()))


def test_a_tumour_in_pet_is_found_where_it_is_and_the_panel_says_what_decided(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    phantom = limb_phantom("PT")
    analysis, _ = analysed(sqlite_database, objects, tmp_path, phantom)
    assert (analysis.route, analysis.algorithm.name) == ("limb-pet", "oncue-family")
    (finding,) = analysis.findings
    assert finding.presence is Presence.PRESENT
    assert finding.volume_ml == pytest.approx(phantom.tumour.sum() * 0.016, rel=0.3)
    assert analysis.label_map is not None
    found = analysis.label_map.labels > 0
    truth = phantom.tumour if found.shape == phantom.tumour.shape else phantom.tumour[::-1]
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    assert analysis.explanation is not None
    (panel,) = analysis.explanation.panels
    assert [(shown.tile, shown.decides) for shown in panel.tiles] == [
        (Tile.IMAGE, True),
        (Tile.SCORE, True),
        (Tile.MASK, None),
    ]
    assert panel.attention_inside > 2 * panel.attention_outside
    assert Image.open(io.BytesIO(objects.get(panel.picture))).width > 0


def test_a_thigh_without_a_tumour_is_said_to_show_none(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    analysis, _ = analysed(sqlite_database, objects, tmp_path, limb_phantom("PT", tumour=False))
    (finding,) = analysis.findings
    assert finding.presence is Presence.ABSENT
    assert (analysis.label_map, analysis.explanation) == (None, None)
    assert analysis.case_score < 0.2


def test_what_is_unlike_the_training_images_is_kept_and_not_sent(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path
) -> None:
    phantom = limb_phantom("MR")
    noise = np.random.default_rng(2).uniform(0.0, 900.0, phantom.voxels.shape).astype(np.float32)
    analysis, is_due = analysed(sqlite_database, objects, tmp_path, LimbPhantom("MR", noise, phantom.tumour))
    assert analysis.out_of_distribution is not None
    assert analysis.out_of_distribution > 0.0
    assert (analysis.withheld, is_due) == ("unlike_training_data", False)
