"""Label map segmentations, read back by others and held against the binary ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.label_map import build_label_map
from dicom_gateway.objects.segmentation import build_segmentation
from dicom_gateway.objects.sop_classes import LABEL_MAP_SEGMENTATION_STORAGE
from dicom_gateway.objects.validation import check_object
from storage.domain import Analysis
from storage.objects import ObjectStore
from tests.support.flat_sources import FLAT_PLANS, FlatPlan, lesion_labels, store_flat
from tests.support.pictured import headers, saved
from tests.support.readers import grid_points, iod_errors, labelled_points
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
EVERY_FLAT = pytest.mark.parametrize("plan", FLAT_PLANS, ids=lambda plan: plan.name)


def build(analysis: Analysis, sources: tuple[Dataset, ...]) -> Dataset:
    return build_label_map(analysis, sources, written_at=WRITTEN_AT, equipment=Equipment())


def built(study: SourceStudy) -> Dataset:
    return build(study.analysis(study.lesion_labels()), study.datasets)


@pytest.mark.peer
@EVERY_LAYOUT
def test_dciodvfy_finds_no_error_in_a_label_map(layout: Layout, objects: ObjectStore, tmp_path: Path) -> None:
    assert iod_errors(saved(built(store_study(layout, objects)), tmp_path / "map.dcm")) == []


@pytest.mark.peer
@EVERY_FLAT
def test_dciodvfy_finds_no_error_in_a_label_map_of_a_flat_image(
    plan: FlatPlan, objects: ObjectStore, tmp_path: Path
) -> None:
    source = store_flat(plan, objects)
    dataset = build(source.analysis(lesion_labels()), headers(source))
    assert iod_errors(saved(dataset, tmp_path / "map.dcm")) == []
    assert (dataset.pixel_array == lesion_labels()[0]).all()
    source_image = dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert source_image.ReferencedSOPInstanceUID == source.dataset.SOPInstanceUID
    assert source_image.ReferencedSOPClassUID == plan.sop_class_uid


@pytest.mark.peer
@EVERY_LAYOUT
def test_dcmqi_finds_each_lesion_where_it_lies(layout: Layout, objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(layout, objects)
    path = saved(built(study), tmp_path / "map.dcm")
    found = labelled_points(path, tmp_path / "read")
    assert found == {number: grid_points(study.lesion_labels() == number, study.affine) for number in (1, 2)}


def test_it_holds_the_segments_of_the_segmentation_and_a_background(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    binary = build_segmentation(analysis, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())
    dataset = build(analysis, study.datasets)
    background, *segments = dataset.SegmentSequence
    assert background.SegmentNumber == 0
    assert "TrackingUID" not in background
    same = ("SegmentNumber", "SegmentLabel", "TrackingUID", "TrackingID", "RecommendedDisplayCIELabValue")
    for ours, theirs in zip(segments, binary.SegmentSequence, strict=True):
        assert [ours[keyword].value for keyword in same] == [theirs[keyword].value for keyword in same]
    assert dataset.SOPClassUID == LABEL_MAP_SEGMENTATION_STORAGE
    assert dataset.SOPInstanceUID != binary.SOPInstanceUID
    assert dataset.SeriesInstanceUID != binary.SeriesInstanceUID
    assert dataset.FrameOfReferenceUID == binary.FrameOfReferenceUID
    assert (dataset.SegmentationType, dataset.BitsAllocated, dataset.SegmentsOverlap) == ("LABELMAP", 8, "NO")
    assert dataset.PhotometricInterpretation == "MONOCHROME2"


def test_frames_without_a_segment_are_left_out(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    dataset = built(study)
    assert dataset.NumberOfFrames == 4
    heights = [
        group.PlanePositionSequence[0].ImagePositionPatient[2] for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert (dataset.pixel_array[np.argsort(heights)] == study.lesion_labels()[1:5]).all()


@pytest.mark.parametrize("damage", ["empty frame", "missing segment", "unknown number", "too few pixels"])
def test_a_label_map_that_contradicts_itself_does_not_leave(damage: str, objects: ObjectStore) -> None:
    dataset = built(store_study(LAYOUTS[0], objects))
    pixels = np.array(dataset.pixel_array)
    if damage == "empty frame":
        pixels[0] = 0
    elif damage == "missing segment":
        pixels[pixels == 2] = 1
    elif damage == "unknown number":
        pixels[0, 0, 0] = 7
    dataset.PixelData = pixels.tobytes()[: -100 if damage == "too few pixels" else None]
    with pytest.raises(ObjectInvalid, match="label map"):
        check_object(dataset, references=())


def test_nothing_found_is_no_label_map(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    with pytest.raises(ObjectInvalid):
        build(study.analysis(np.zeros_like(study.lesion_labels())), study.datasets)
