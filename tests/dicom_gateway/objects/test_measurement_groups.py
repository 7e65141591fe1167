"""What a report says of whole images, and on whose wish it was made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.writing import write_objects
from storage.domain import Analysis, Finding, ObjectKind, Presence
from storage.explanations import Neighbour, Prediction
from storage.objects import ObjectStore
from tests.dicom_gateway.objects.test_report import evidence, items
from tests.support.flat_sources import CR, FLAT_PLANS, XA_FRAME, FlatPlan, lesion_labels, store_flat
from tests.support.peers import executable, orthanc, run, storescu
from tests.support.readers import iod_errors
from tests.support.sources import LAYOUTS, LESION, WRITTEN_AT, Layout, store_study

NEAREST = (Neighbour(7, "normal", 0.9), Neighbour(9, "pneumonia", 0.8), Neighbour(3, "normal", 0.7))
PREDICTION = Prediction(4, ("normal", "pneumonia"), 0.1, NEAREST, saliency="ab" * 32)


def report_of(analysis: Analysis, objects: ObjectStore) -> Path:
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert [item.kind for item in written] == [ObjectKind.SR]
    return objects.path(written[0].digest)


def sources_of_measurement(dataset: Dataset) -> list[tuple[str, object]]:
    """Return (SOP instance, frames) of each image that a measurement group names."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        if item.get("ValueType") == "IMAGE" and item.ConceptNameCodeSequence[0].CodeValue == "121112":
            (reference,) = item.ReferencedSOPSequence
            found.append((str(reference.ReferencedSOPInstanceUID), reference.get("ReferencedFrameNumber")))
        found += sources_of_measurement(item)
    return found


@pytest.mark.peer
@pytest.mark.parametrize("plan", FLAT_PLANS, ids=lambda plan: plan.name)
def test_the_label_of_an_image_is_a_group_that_names_the_image(plan: FlatPlan, objects: ObjectStore) -> None:
    source = store_flat(plan, objects)
    path = report_of(source.assessment(PREDICTION, label="pneumonia", label_probability=0.875), objects)
    report = pydicom.dcmread(path)
    content = list(items(report))
    assert ("Few-shot class", "pneumonia") in content
    assert ("Probability of few-shot class", "87.5 %") in content
    assert content.count(("Class not ruled out", "normal")) == 1
    assert content.count(("Nearest support case", "normal")) == 2
    assert ("Algorithm Name", "prototypes") in content
    assert ("Tracking Identifier", "whole image") in content
    names = {name for name, _ in content}
    assert not names & {
        "Finding",
        "Lesion",
        "Volume",
        "Area",
        "Long Axis",
        "Certainty of Finding",
        "Shuffled-mask control",
    }
    assert sources_of_measurement(report) == [(str(source.dataset.SOPInstanceUID), plan.frame_number)]
    assert evidence(report) == {str(source.dataset.SOPInstanceUID)}
    assert iod_errors(path) == []
    assert run(executable("dsrdump"), path).returncode == 0


@pytest.mark.peer
def test_an_abstention_on_an_image_gives_its_reason_and_no_label(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    # Whatever else the finding holds, who abstains claims nothing.
    given = {"label": "pneumonia", "label_probability": 0.4, "abstained": "ambiguous_set"}
    path = report_of(source.assessment(PREDICTION, **given), objects)
    content = list(items(pydicom.dcmread(path)))
    assert [value for name, value in content if name == "Few-shot class"] == ["Abstained"]
    assert ("Reason for abstention", "ambiguous_set") in content
    assert ("Advice", "Defer to reader") in content
    assert content.count(("Class not ruled out", "pneumonia")) == 1
    assert ("Algorithm Name", "prototypes") in content
    assert "Probability of few-shot class" not in dict(content)
    assert iod_errors(path) == []


@pytest.mark.peer
@pytest.mark.parametrize("layout", [LAYOUTS[0], LAYOUTS[5]], ids=lambda layout: layout.name)
def test_the_label_of_a_series_names_each_of_its_images_once(layout: Layout, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    finding = Finding(0, Presence.ASSESSED, LESION, 0.0, 0.0, 0.0, "", "", label="normal", label_probability=0.75)
    path = report_of(study.analysis(np.zeros(layout.shape, np.uint8), findings=(finding,)), objects)
    frames = [1, 2, 3, 4, 5, 6] if layout.enhanced else None
    assert sources_of_measurement(pydicom.dcmread(path)) == [
        (str(source.SOPInstanceUID), frames) for source in study.datasets
    ]
    assert iod_errors(path) == []


def test_an_assessment_that_assesses_nothing_is_refused(objects: ObjectStore) -> None:
    with pytest.raises(ObjectInvalid, match="neither a label nor a reason"):
        report_of(store_flat(CR, objects).assessment(), objects)


@pytest.mark.peer
def test_a_report_says_which_route_asked_by_which_file(objects: ObjectStore) -> None:
    source = store_flat(XA_FRAME, objects)
    plain = source.analysis(lesion_labels())
    routed = replace(plain, route="angiography", routes_sha256="12" * 32)
    before, after = (
        write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment()) for analysis in (plain, routed)
    )
    content = list(items(pydicom.dcmread(objects.path(after[1].digest))))
    assert content.count(("Algorithm Parameters", "route=angiography")) == 2
    assert content.count(("Algorithm Parameters", "routes_sha256=" + "12" * 32)) == 2
    assert iod_errors(objects.path(after[1].digest)) == []
    # Two routes may ask for the same analysis of the same image; each result can be taken back without the other.
    assert not {item.sop_instance_uid for item in before} & {item.sop_instance_uid for item in after}


@pytest.mark.peer
@pytest.mark.slow
def test_orthanc_keeps_the_label_of_an_image(objects: ObjectStore, tmp_path: Path) -> None:
    path = report_of(store_flat(CR, objects).assessment(PREDICTION, label="normal"), objects)
    (tmp_path / "pacs").mkdir()
    with orthanc(tmp_path / "pacs") as pacs:
        assert storescu(pacs.ae_title, pacs.port, path).returncode == 0
        assert pacs.sop_instance_uids() == (str(pydicom.dcmread(path).SOPInstanceUID),)
