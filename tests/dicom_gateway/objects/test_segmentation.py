"""The segmentations that oncue writes, read back by others."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.segmentation import build_segmentation
from dicom_gateway.objects.validation import check_object
from dicom_gateway.objects.writing import write_objects
from storage.domain import ObjectKind
from storage.objects import ObjectStore
from storage.volumes import FrameRef, LabelMap
from tests.support.readers import entity_errors, grid_points, iod_errors, read_segments
from tests.support.required import present
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, part10_bytes, store_study

AXIAL = LAYOUTS[0]
EVERY_LAYOUT = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def write_segmentation(study: SourceStudy, labels: NDArray[np.uint8], objects: ObjectStore) -> Path:
    written = write_objects(study.analysis(labels), objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert [item.kind for item in written] == [ObjectKind.SEG, ObjectKind.SR]
    assert written[0].sop_class_uid == SegmentationStorage
    return objects.path(written[0].digest)


def build(study: SourceStudy, labels: NDArray[np.uint8]) -> Dataset:
    return build_segmentation(
        study.analysis(labels), study.datasets, written_at=WRITTEN_AT, equipment=Equipment(software_version="9.9")
    )


@pytest.mark.peer
@EVERY_LAYOUT
def test_dciodvfy_finds_no_error_in_a_segmentation(layout: Layout, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    assert iod_errors(write_segmentation(study, study.lesion_labels(), objects)) == []


@pytest.mark.peer
@EVERY_LAYOUT
def test_dcmqi_reads_the_lesions_where_they_were_drawn(layout: Layout, objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(layout, objects)
    labels = study.lesion_labels()
    segments = read_segments(write_segmentation(study, labels, objects), tmp_path / "read")
    findings = study.analysis(labels).findings
    assert {number: segment.tracking_uid for number, segment in segments.items()} == {
        finding.number: finding.tracking_uid for finding in findings
    }
    for number, segment in segments.items():
        assert segment.points == grid_points(labels == number, study.affine)


@pytest.mark.peer
@pytest.mark.parametrize("slices", [(2,), (0, 5), (1, 3)], ids=["one slice", "first and last", "every other"])
@pytest.mark.parametrize("layout", [LAYOUTS[1], LAYOUTS[5]], ids=lambda layout: layout.name)
def test_a_lesion_on_few_slices_keeps_its_place(
    layout: Layout, slices: tuple[int, ...], objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(layout, objects)
    labels = np.zeros(layout.shape, dtype=np.uint8)
    labels[list(slices), 4:7, 5:11] = 1
    path = write_segmentation(study, labels, objects)
    assert pydicom.dcmread(path).NumberOfFrames == len(slices)
    (segment,) = read_segments(path, tmp_path / "read").values()
    assert segment.points == grid_points(labels == 1, study.affine)


@pytest.mark.peer
def test_the_order_in_which_the_planes_are_named_does_not_move_a_lesion(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(AXIAL, objects)
    labels = study.lesion_labels()
    backwards = replace(
        study.analysis(labels),
        frames=study.frames[::-1],
        label_map=LabelMap(labels[::-1].copy(), study.frames[::-1]),
    )
    written = write_objects(backwards, objects, written_at=WRITTEN_AT, equipment=Equipment())
    segments = read_segments(objects.path(written[0].digest), tmp_path / "read")
    for number, segment in segments.items():
        assert segment.points == grid_points(labels == number, study.affine)


def test_each_frame_names_the_source_plane_that_it_lies_on(objects: ObjectStore) -> None:
    for layout in (AXIAL, LAYOUTS[6]):
        study = store_study(layout, objects)
        labels = study.lesion_labels()
        dataset = build(study, labels)
        named = []
        for group in dataset.PerFrameFunctionalGroupsSequence:
            image = group.DerivationImageSequence[0].SourceImageSequence[0]
            number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            named.append((number, str(image.ReferencedSOPInstanceUID), image.get("ReferencedFrameNumber")))
        expected = [
            (number, frame.sop_instance_uid, frame.frame_number)
            for number in (1, 2)
            for z, frame in enumerate(study.frames)
            if (labels[z] == number).any()
        ]
        assert sorted(named, key=str) == sorted(expected, key=str)


def test_a_segment_says_what_it_is_and_what_drew_it(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    first, second = build(study, study.lesion_labels()).SegmentSequence
    assert (first.SegmentNumber, second.SegmentNumber) == (1, 2)
    assert first.SegmentLabel == "Lesion 1"
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert first.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert first.RecommendedDisplayCIELabValue != second.RecommendedDisplayCIELabValue
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("latent-anomaly", "1.2.3")
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert "cd" * 32 in algorithm.AlgorithmParameters
    assert '"steps":50' in algorithm.AlgorithmParameters


def test_a_segmentation_belongs_to_its_source_study(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    source, dataset = study.datasets[0], build(study, study.lesion_labels())
    for keyword in (
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "StudyInstanceUID",
        "StudyDate",
        "StudyID",
        "AccessionNumber",
        "FrameOfReferenceUID",
    ):
        assert dataset[keyword].value == source[keyword].value, keyword
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
    assert {
        item.ReferencedSOPInstanceUID for item in dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    } == {source.SOPInstanceUID for source in study.datasets}


def test_a_segmentation_says_who_made_it_and_when_the_job_ran(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    dataset = build(study, study.lesion_labels())
    assert dataset.SeriesDescription == "oncue AI - not for primary diagnosis"
    assert dataset.SeriesNumber == 99001
    assert dataset.SoftwareVersions == "9.9"
    # The source's clock is an hour ahead of UTC, and one object has one clock.
    assert (dataset.ContentDate, dataset.ContentTime) == ("20260304", "060607")
    assert (dataset.InstanceCreationDate, dataset.InstanceCreationTime) == ("20260304", "060607")
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in dataset.ContributingEquipmentSequence]
    assert "109102" in purposes


def test_a_source_without_body_part_has_no_region(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects, BodyPartExamined="")
    dataset = build(study, study.lesion_labels())
    assert "AnatomicRegionSequence" not in dataset.SegmentSequence[0]


def test_a_source_with_odd_patient_attributes_is_written_on_all_the_same(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    for dataset in study.datasets:
        dataset.PatientSex = "U"
        dataset.PatientName = "no caret"
        del dataset.StudyID
        del dataset.FrameOfReferenceUID
        del dataset.SliceThickness
    written = build(study, study.lesion_labels())
    assert (written.PatientSex, written.PatientName, written.StudyID) == ("U", "no caret", "")
    assert written.FrameOfReferenceUID.is_valid
    assert written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 3.0


@pytest.mark.peer
def test_two_frames_of_reference_never_meet_in_one_study(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(AXIAL, objects)
    written = write_objects(
        study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    paths = [objects.path(frame.digest) for frame in study.frames] + [objects.path(item.digest) for item in written]
    assert entity_errors(paths) == []
    stranger = pydicom.dcmread(paths[-1])
    stranger.PatientBirthDate = "19990101"
    (tmp_path / "stranger").write_bytes(part10_bytes(stranger))
    assert entity_errors([*paths, tmp_path / "stranger"]) != []


def test_a_label_map_that_contradicts_the_analysis_is_refused(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    labels = study.lesion_labels()
    good = study.analysis(labels)
    empty = replace(good, label_map=LabelMap(np.zeros_like(labels), study.frames))
    too_many = replace(good, findings=(*good.findings, replace(good.findings[0], number=3)))
    gap = replace(good, findings=(good.findings[0], replace(good.findings[1], number=3)))
    short = replace(good, label_map=LabelMap(labels[1:], study.frames))
    none = replace(good, label_map=None)
    for analysis in (empty, too_many, gap, short, none):
        with pytest.raises(ObjectInvalid):
            build_segmentation(analysis, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())


def test_sources_that_do_not_carry_the_label_map_are_refused(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    labels = study.lesion_labels()
    analysis = study.analysis(labels)
    tilted, wide, elsewhere, twice = (copy.deepcopy(study.datasets) for _ in range(4))
    tilted[2].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    wide[2].Columns = 99
    del elsewhere[2].ImagePositionPatient
    twice[2].ImagePositionPatient = twice[3].ImagePositionPatient
    other_series = store_study(LAYOUTS[1], objects).datasets
    for sources in (study.datasets[1:], tilted, wide, elsewhere, twice, (), (*study.datasets, *other_series)):
        with pytest.raises(SourceUnusable):
            build_segmentation(analysis, sources, written_at=WRITTEN_AT, equipment=Equipment())
    larger = replace(analysis, label_map=LabelMap(np.pad(labels, ((0, 0), (0, 1), (0, 0))), study.frames))
    with pytest.raises(SourceUnusable, match="differ in size"):
        build_segmentation(larger, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())


def test_an_object_that_is_not_whole_does_not_pass_the_check(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    uids = [str(source.SOPInstanceUID) for source in study.datasets]
    whole = build(study, study.lesion_labels())
    check_object(whole, references=uids)
    empty, unnamed, ill_formed, segmentless, foreign = (copy.deepcopy(whole) for _ in range(5))
    empty.PixelData = bytes(len(whole.PixelData))
    del unnamed.DeviceSerialNumber
    ill_formed.SegmentSequence[0].add(DataElement("TrackingUID", "UI", "1.2.03", validation_mode=IGNORE))
    segmentless.SegmentSequence.append(copy.deepcopy(whole.SegmentSequence[0]))
    segmentless.SegmentSequence[-1].SegmentNumber = 3
    foreign.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    for broken in (empty, unnamed, ill_formed, segmentless, foreign):
        with pytest.raises(ObjectInvalid):
            check_object(broken, references=uids)
    with pytest.raises(ObjectInvalid, match="1 of the instances"):
        check_object(whole, references=[*uids, "1.2.3"])


@pytest.mark.peer
@pytest.mark.parametrize("name", ["mr-ge-150-slices", "ct-chest-100-slices"])
def test_a_real_series_carries_a_segmentation(name: str, real_data: Path, objects: ObjectStore, tmp_path: Path) -> None:
    folder = present(real_data / "dicom" / name)
    headers = [(path, pydicom.dcmread(path, stop_before_pixels=True)) for path in sorted(folder.rglob("*.dcm"))]
    normal = np.cross(headers[0][1].ImageOrientationPatient[:3], headers[0][1].ImageOrientationPatient[3:])
    # The MR series was taken ten times over; its first pass is a volume.
    places = {tuple(pair[1].ImagePositionPatient): pair for pair in reversed(headers)}
    headers = sorted(places.values(), key=lambda pair: float(np.dot(pair[1].ImagePositionPatient, normal)))
    frames = tuple(
        FrameRef(str(header.SOPInstanceUID), str(header.SOPClassUID), None, objects.put(path.read_bytes()))
        for path, header in headers
    )
    first, last = headers[0][1], headers[-1][1]
    affine = np.eye(4)
    affine[:3, 0] = np.subtract(last.ImagePositionPatient, first.ImagePositionPatient) / (len(headers) - 1)
    affine[:3, 1] = np.multiply(first.ImageOrientationPatient[3:], first.PixelSpacing[0])
    affine[:3, 2] = np.multiply(first.ImageOrientationPatient[:3], first.PixelSpacing[1])
    affine[:3, 3] = first.ImagePositionPatient
    labels = np.zeros((len(headers), first.Rows, first.Columns), dtype=np.uint8)
    third, half = first.Rows // 3, first.Columns // 2
    labels[6:11, third : third + 9, half : half + 6] = 1
    labels[8, third - 5 : third, half : half + 2] = 1
    study = SourceStudy(Layout(name, shape=labels.shape), tuple(header for _, header in headers), frames, affine)
    path = write_segmentation(study, labels, objects)
    assert iod_errors(path) == []
    (segment,) = read_segments(path, tmp_path / "read").values()
    expected = grid_points(labels == 1, affine)
    assert len(segment.points) == len(expected)
    assert np.allclose(np.array(sorted(segment.points)).mean(axis=0), np.array(sorted(expected)).mean(axis=0), atol=0.1)
