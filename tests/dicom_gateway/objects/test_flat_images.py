"""Results on images without a place in the patient, read back by others."""

from __future__ import annotations

import copy
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid, SourceUnusable
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.validation import check_object
from dicom_gateway.objects.writing import write_objects, write_parametric_map, write_rejection
from storage import arrays
from storage.domain import Analysis
from storage.explanations import KeptExplanation
from storage.objects import ObjectStore
from storage.volumes import Extent
from tests.dicom_gateway.objects.test_report import items
from tests.support.flat_sources import (
    CR,
    DX,
    FLAT_PLANS,
    MG,
    SC,
    US,
    XA,
    XA_FRAME,
    FlatPlan,
    FlatSource,
    lesion_labels,
    store_flat,
)
from tests.support.peers import executable, orthanc, run, storescu
from tests.support.readers import entity_errors, iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, store_study

EVERY_PLAN = pytest.mark.parametrize("plan", FLAT_PLANS, ids=lambda plan: plan.name)


def write(source: FlatSource, objects: ObjectStore, analysis: Analysis | None = None) -> tuple[Path, Path]:
    analysis = analysis or source.analysis(lesion_labels())
    segmentation, report = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    return objects.path(segmentation.digest), objects.path(report.digest)


@pytest.mark.peer
@EVERY_PLAN
def test_dciodvfy_finds_no_error_in_results_on_a_flat_image(plan: FlatPlan, objects: ObjectStore) -> None:
    segmentation, report = write(store_flat(plan, objects), objects)
    assert iod_errors(segmentation) == []
    assert iod_errors(report) == []
    dump = run(executable("dsrdump"), report)
    assert dump.returncode == 0
    assert dump.stdout.count('IMAGE:(,,"Referenced Segmentation Frame")=(SG image,,') == 2


@EVERY_PLAN
def test_the_lesions_lie_where_they_were_drawn_on_the_image_that_is_named(plan: FlatPlan, objects: ObjectStore) -> None:
    source = store_flat(plan, objects)
    segmentation = highdicom.seg.segread(write(source, objects)[0])
    read = segmentation.get_pixels_by_source_instance(
        [str(source.dataset.SOPInstanceUID)], combine_segments=True, ignore_spatial_locations=True
    )
    assert np.array_equal(read, lesion_labels())
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        (derivation,) = frame.DerivationImageSequence
        (image,) = derivation.SourceImageSequence
        assert image.ReferencedSOPClassUID == plan.sop_class_uid
        assert image.get("ReferencedFrameNumber") == plan.frame_number
        assert "PlanePositionSequence" not in frame
    assert "FrameOfReferenceUID" not in segmentation
    assert segmentation.PatientOrientation == source.dataset.get("PatientOrientation", "")


@EVERY_PLAN
def test_a_report_measures_what_is_known_and_says_how(plan: FlatPlan, objects: ObjectStore) -> None:
    content = list(items(pydicom.dcmread(write(store_flat(plan, objects), objects)[1])))
    names = {name for name, _ in content}
    assert "Volume" not in names
    assert ("Certainty of Finding", "75 %") in content
    if plan.extent is Extent.AREA:
        assert {("Area", "6.5 mm2"), ("Area", "6.25 mm2"), ("Long Axis", "12.5 mm")} <= set(content)
        assert content.count(("Size calibration", "At the detector plane")) == (
            2 if plan in (DX, MG, XA, XA_FRAME) else 0
        )
    else:
        assert not names & {"Area", "Long Axis"}
        assert content.count(("Size calibration", "Not calibrated")) == 2


def test_highdicom_reads_a_planar_group_for_each_lesion(objects: ObjectStore) -> None:
    source = store_flat(US, objects)
    segmentation, report = write(source, objects)
    content = highdicom.sr.srread(report).content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    groups = content.get_planar_roi_measurement_groups()
    assert len(groups) == 2
    frames = pydicom.dcmread(segmentation).PerFrameFunctionalGroupsSequence
    for group, finding in zip(groups, source.analysis(lesion_labels()).findings, strict=True):
        assert group.tracking_uid == finding.tracking_uid
        reference = group.referenced_segmentation_frame
        assert reference is not None
        frame, image = reference
        (number,) = frame.referenced_frame_numbers
        assert frames[number - 1].SegmentIdentificationSequence[0].ReferencedSegmentNumber == finding.number
        assert image.referenced_sop_instance_uid == source.dataset.SOPInstanceUID


@pytest.mark.parametrize(
    ("plan", "region", "side"),
    [(DX, "Hand", "Right"), (MG, "Breast", "Left"), (US, "Breast", "Left"), (CR, "Chest", None)],
)
def test_segment_and_finding_site_say_which_side(
    plan: FlatPlan, region: str, side: str | None, objects: ObjectStore
) -> None:
    segmentation, report = (pydicom.dcmread(path) for path in write(store_flat(plan, objects), objects))
    (stated,) = segmentation.SegmentSequence[0].AnatomicRegionSequence
    modifiers = stated.get("AnatomicRegionModifierSequence", ())
    assert (stated.CodeMeaning, [item.CodeMeaning for item in modifiers]) == (region, [side] if side else [])
    content = list(items(report))
    assert content.count(("Finding Site", region)) == 2
    assert [value for name, value in content if name == "Laterality"] == ([side] * 2 if side else [])


@pytest.mark.peer
@pytest.mark.parametrize(("layout", "thickness"), [(LAYOUTS[0], 5.0), (LAYOUTS[0], None), (LAYOUTS[5], 5.0)])
def test_one_slice_has_a_place_where_it_has_a_thickness(
    layout: Layout, thickness: float | None, objects: ObjectStore
) -> None:
    study = store_study(replace(layout, name="one", shape=(1, 24, 20)), objects, SliceThickness=thickness)
    analysis = study.analysis(lesion_labels())
    findings = tuple(replace(finding, extent=Extent.AREA, area_mm2=26.0) for finding in analysis.findings)
    written = write_objects(replace(analysis, findings=findings), objects, written_at=WRITTEN_AT, equipment=Equipment())
    segmentation, report = (objects.path(item.digest) for item in written)
    assert ("FrameOfReferenceUID" in pydicom.dcmread(segmentation)) is (thickness is not None)
    content = list(items(pydicom.dcmread(report)))
    assert content.count(("Area", "26 mm2")) == 2
    assert "Volume" not in dict(content)
    assert iod_errors(segmentation) == iod_errors(report) == []


@pytest.mark.peer
def test_a_lesion_on_several_uncalibrated_planes_has_no_size_at_all(objects: ObjectStore) -> None:
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    findings = tuple(replace(finding, extent=Extent.UNKNOWN) for finding in analysis.findings)
    written = write_objects(replace(analysis, findings=findings), objects, written_at=WRITTEN_AT, equipment=Equipment())
    path = objects.path(written[1].digest)
    content = list(items(pydicom.dcmread(path)))
    assert not {name for name, _ in content} & {"Volume", "Area", "Long Axis"}
    assert content.count(("Size calibration", "Not calibrated")) == 2
    assert iod_errors(path) == []


def test_a_map_of_a_flat_image_is_refused(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    kept = KeptExplanation(arrays.save_attention(objects, lesion_labels()), ())
    analysis = replace(source.analysis(lesion_labels()), explanation=kept)
    with pytest.raises(SourceUnusable, match="where it lies in the patient"):
        write_parametric_map(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())


def test_a_volume_is_never_claimed_on_a_flat_image(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    analysis = source.analysis(lesion_labels())
    findings = tuple(replace(one, extent=Extent.VOLUME) for one in analysis.findings)
    with pytest.raises(ObjectInvalid, match="claims a volume"):
        write(source, objects, replace(analysis, findings=findings))


def test_frames_with_neither_place_nor_source_do_not_pass_the_check(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    whole = pydicom.dcmread(write(source, objects)[0])
    check_object(whole, references=[str(source.dataset.SOPInstanceUID)])
    lost: Dataset = copy.deepcopy(whole)
    lost.PerFrameFunctionalGroupsSequence[1].DerivationImageSequence = []
    with pytest.raises(ObjectInvalid, match="FrameOfReferenceUID"):
        check_object(lost, references=[])


def test_what_a_frame_grabber_leaves_out_is_blank_and_not_missing(objects: ObjectStore) -> None:
    for path in write(store_flat(SC, objects), objects):
        dataset = pydicom.dcmread(path)
        assert dataset.PatientName == "Doe^Zoe"
        assert dataset.PatientBirthDate == dataset.PatientSex == dataset.StudyID == dataset.AccessionNumber == ""


@pytest.mark.peer
@pytest.mark.slow
def test_orthanc_keeps_results_on_every_kind_of_flat_image(objects: ObjectStore, tmp_path: Path) -> None:
    sent = []
    for plan in FLAT_PLANS:
        source = store_flat(plan, objects)
        made = write_objects(source.analysis(lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment())
        assert (
            entity_errors([objects.path(one) for one in (source.frames[0].digest, *(item.digest for item in made))])
            == []
        )
        sent += [*made, write_rejection(made, objects, written_at=WRITTEN_AT, equipment=Equipment())]
    (tmp_path / "pacs").mkdir()
    with orthanc(tmp_path / "pacs") as pacs:
        assert storescu(pacs.ae_title, pacs.port, *[objects.path(item.digest) for item in sent]).returncode == 0
        assert pacs.sop_instance_uids() == tuple(sorted(item.sop_instance_uid for item in sent))
        for item in sent:
            assert pydicom.dcmread(objects.path(item.digest)) == _read(pacs.file(item.sop_instance_uid))


def _read(content: bytes) -> Dataset:
    return pydicom.dcmread(BytesIO(content))
