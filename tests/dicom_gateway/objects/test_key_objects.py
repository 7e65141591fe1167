"""Key object selections, as DCMTK reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.key_objects import build_key_objects
from dicom_gateway.objects.report import build_report
from dicom_gateway.objects.segmentation import build_segmentation
from dicom_gateway.objects.validation import check_object
from storage.domain import Analysis
from storage.objects import ObjectStore
from tests.support.flat_sources import FLAT_PLANS, FlatPlan, lesion_labels, store_flat
from tests.support.peers import executable, run
from tests.support.pictured import headers, pictured, saved
from tests.support.readers import iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

AXIAL, ENHANCED = LAYOUTS[0], LAYOUTS[5]


def build(analysis: Analysis, sources: tuple[Dataset, ...], *results: Dataset) -> Dataset:
    dataset = build_key_objects(analysis, sources, results=results, written_at=WRITTEN_AT, equipment=Equipment())
    assert dataset is not None
    return dataset


def results_of(study: SourceStudy) -> tuple[Dataset, Dataset]:
    analysis = study.analysis(study.lesion_labels())
    segmentation = build_segmentation(analysis, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())
    report = build_report(
        analysis, study.datasets, segmentation=segmentation, written_at=WRITTEN_AT, equipment=Equipment()
    )
    return segmentation, report


def named(document: Dataset) -> list[tuple[str, str, object]]:
    """Return value type, SOP Instance UID and frames of each object that a document names."""
    return [
        (item.ValueType, reference.ReferencedSOPInstanceUID, reference.get("ReferencedFrameNumber"))
        for item in document.ContentSequence
        for reference in item.get("ReferencedSOPSequence", ())
    ]


@pytest.mark.peer
@pytest.mark.parametrize("layout", [AXIAL, ENHANCED], ids=lambda layout: layout.name)
def test_dciodvfy_and_dcmtk_take_a_selection_with_its_results(
    layout: Layout, objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(layout, objects)
    document = build(pictured(study, study.lesion_labels(), objects), study.datasets, *results_of(study))
    path = saved(document, tmp_path / "key-objects.dcm")
    assert iod_errors(path) == []
    dump = run(executable("dsrdump"), "+Pc", path)
    assert dump.returncode == 0, dump.stdout
    assert '(113000,DCM,"Of Interest")' in dump.stdout
    assert '(113012,DCM,"Key Object Description")="Frames in which' in dump.stdout
    assert dump.stdout.count("<contains IMAGE") == (4 if layout is AXIAL else 2)
    assert dump.stdout.count("<contains COMPOSITE") == 1


@pytest.mark.peer
@pytest.mark.parametrize("plan", FLAT_PLANS, ids=lambda plan: plan.name)
def test_a_flat_image_is_of_interest_as_a_whole(plan: FlatPlan, objects: ObjectStore, tmp_path: Path) -> None:
    source = store_flat(plan, objects)
    document = build(source.analysis(lesion_labels()), headers(source))
    assert iod_errors(saved(document, tmp_path / "key-objects.dcm")) == []
    assert named(document) == [("IMAGE", source.dataset.SOPInstanceUID, plan.frame_number)]


def test_it_names_the_slices_that_pictures_show_and_where_each_lesion_is_largest(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    uids = [frame.sop_instance_uid for frame in study.frames]
    analysis = pictured(study, study.lesion_labels(), objects)
    # The first lesion is largest in slice 1, the second lies in slice 4 alone.
    one = build(replace(analysis, overlays=analysis.overlays[:1]), study.datasets)
    assert [uid for _, uid, _ in named(one)] == [uids[1], uids[4]]
    three = build(analysis, study.datasets)
    assert [uid for _, uid, _ in named(three)] == [uids[1], uids[2], uids[4]]


def test_it_names_the_frames_of_an_enhanced_instance_once(objects: ObjectStore) -> None:
    study = store_study(ENHANCED, objects)
    document = build(pictured(study, study.lesion_labels(), objects), study.datasets)
    assert named(document) == [("IMAGE", study.datasets[0].SOPInstanceUID, [2, 3, 5])]


def test_what_else_it_names_makes_it_another_document(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = study.analysis(study.lesion_labels())
    segmentation, report = results_of(study)
    documents = [build(analysis, study.datasets, *results) for results in ((), (report,), (segmentation, report))]
    assert len({document.SOPInstanceUID for document in documents}) == 3
    expected = [str(segmentation.SOPInstanceUID), str(report.SOPInstanceUID)]
    assert [uid for _, uid, _ in named(documents[2])[-2:]] == expected
    check_object(documents[2], references=expected)


def test_without_a_lesion_there_is_none(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    nothing = study.analysis(np.zeros_like(study.lesion_labels()))
    assert build_key_objects(nothing, study.datasets, written_at=WRITTEN_AT, equipment=Equipment()) is None


def test_a_frame_that_no_source_holds_is_refused(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    with pytest.raises(SourceUnusable):
        build(study.analysis(study.lesion_labels()), study.datasets[:2])
