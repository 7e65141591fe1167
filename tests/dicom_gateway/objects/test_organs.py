"""Segmentations and reports of organs with lesions in them, read back by others."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import MeasurementReport
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.segmentation import build_segmentation
from dicom_gateway.objects.writing import write_objects
from storage.domain import Analysis, ObjectKind, Site
from storage.objects import ObjectStore
from storage.volumes import Extent
from tests.support.drawn_organs import (
    KIDNEY,
    LEFT,
    LIVER,
    drawn_alone,
    drawn_beside,
    with_organ_numbers,
    with_structures,
)
from tests.support.flat_sources import CR, SC, FlatPlan, lesion_labels, store_flat
from tests.support.peers import executable, orthanc, run, storescu
from tests.support.readers import entity_errors, grid_points, iod_errors, read_report, read_segments
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

AXIAL = LAYOUTS[0]
VOLUME, NUMBER, LESION_VOLUME = "118565006", "246206008", "LESION_VOLUME"


@pytest.fixture
def study(objects: ObjectStore) -> SourceStudy:
    """Return a stored axial series."""
    return store_study(AXIAL, objects)


def write(analysis: Analysis, objects: ObjectStore) -> tuple[Path, Path]:
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert [item.kind for item in written] == [ObjectKind.SEG, ObjectKind.SR]
    return objects.path(written[0].digest), objects.path(written[1].digest)


def numbers(analysis: Analysis) -> NDArray[np.uint8]:
    assert analysis.label_map is not None
    return analysis.label_map.labels


def measured(group: dict[str, Any]) -> dict[str, tuple[float, str]]:
    return {
        item["quantity"]["CodeValue"]: (float(item["value"]), item["units"]["CodeValue"])
        for item in group["measurementItems"]
    }


@pytest.mark.peer
@pytest.mark.parametrize("layout", [AXIAL, LAYOUTS[1], LAYOUTS[5]], ids=lambda layout: layout.name)
@pytest.mark.parametrize("alone", [False, True], ids=["lesions and organs", "organs alone"])
def test_dciodvfy_finds_no_error(layout: Layout, alone: bool, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    analysis = drawn_alone(study) if alone else drawn_beside(study, study.lesion_labels())
    segmentation, report = write(analysis, objects)
    assert iod_errors(segmentation) == []
    assert iod_errors(report) == []


@pytest.mark.peer
@pytest.mark.parametrize("layout", [AXIAL, LAYOUTS[6]], ids=lambda layout: layout.name)
def test_dcmqi_reads_lesions_and_organs_where_they_were_drawn(
    layout: Layout, objects: ObjectStore, tmp_path: Path
) -> None:
    study = store_study(layout, objects)
    analysis = drawn_beside(study, study.lesion_labels())
    segments = read_segments(write(analysis, objects)[0], tmp_path / "read")
    expected = {finding.number: finding.tracking_uid for finding in analysis.findings}
    expected |= {structure.number: structure.tracking_uid for structure in analysis.structures}
    assert {number: segment.tracking_uid for number, segment in segments.items()} == expected
    for number, segment in segments.items():
        assert segment.points == grid_points(numbers(analysis) == number, study.affine)


def test_highdicom_finds_segments_by_what_they_are(study: SourceStudy, objects: ObjectStore) -> None:
    analysis = drawn_beside(study, study.lesion_labels())
    read = highdicom.seg.segread(write(analysis, objects)[0])
    organ = DicomCode("91723000", "SCT", "Anatomical Structure")
    assert read.get_segment_numbers(segmented_property_category=organ) == [3, 4, 5]
    kidney = DicomCode(KIDNEY.value, KIDNEY.scheme, KIDNEY.meaning)
    assert read.get_segment_numbers(segmented_property_type=kidney) == [4, 5]
    assert (read.ContentLabel, read.ContentDescription.split(" - ")[0]) == (
        "AI_LESION_ORGAN",
        "Lesions, organs drawn by oncue AI",
    )


def test_an_organ_has_its_side_and_a_lesion_the_organ_that_it_lies_in(study: SourceStudy) -> None:
    dataset = _built(drawn_beside(study, study.lesion_labels()), study)
    inside, elsewhere, liver, left, right = dataset.SegmentSequence
    (region,) = inside.AnatomicRegionSequence
    assert (region.CodeValue, region.AnatomicRegionModifierSequence[0].CodeMeaning) == (KIDNEY.value, "Left")
    assert elsewhere.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    types = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in (liver, left, right)]
    assert [code.CodeMeaning for code in types] == ["Liver", "Kidney", "Kidney"]
    assert "SegmentedPropertyTypeModifierCodeSequence" not in types[0]
    sides = [code.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue for code in types[1:]]
    assert sides == ["7771000", "24028007"]
    assert all("AnatomicRegionSequence" not in segment for segment in (liver, left, right))
    assert [segment.SegmentLabel for segment in (liver, left, right)] == ["liver", "kidney_left", "kidney_right"]
    colours = {tuple(segment.RecommendedDisplayCIELabValue) for segment in dataset.SegmentSequence}
    assert len(colours) == 5


def test_the_side_of_the_images_is_that_of_an_organ_only_where_they_show_it(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects, BodyPartExamined="KIDNEY", Laterality="L")
    analysis = study.analysis(study.lesion_labels())
    sites = (Site(KIDNEY), LIVER)
    placed = replace(
        analysis, findings=tuple(replace(one, site=site) for one, site in zip(analysis.findings, sites, strict=True))
    )
    kidney, liver = (segment.AnatomicRegionSequence[0] for segment in _built(placed, study).SegmentSequence)
    assert kidney.AnatomicRegionModifierSequence[0].CodeValue == LEFT.value
    assert "AnatomicRegionModifierSequence" not in liver


@pytest.mark.peer
def test_dcmqi_reads_the_measurements_of_each_organ(study: SourceStudy, objects: ObjectStore, tmp_path: Path) -> None:
    analysis = drawn_beside(study, study.lesion_labels())
    groups = read_report(write(analysis, objects)[1], tmp_path)["Measurements"]
    assert [group["ReferencedSegment"] for group in groups] == [1, 2, 3, 4, 5]
    lesion, elsewhere, liver, left, _ = groups
    assert (lesion["Finding"]["CodeMeaning"], lesion["FindingSite"]["CodeMeaning"]) == ("Lesion", "Kidney")
    assert lesion["Laterality"]["CodeMeaning"] == "Left"
    assert elsewhere["FindingSite"]["CodeMeaning"] == "Brain"
    assert [group["Finding"]["CodeMeaning"] for group in groups[2:]] == ["Liver", "Kidney", "Kidney"]
    assert [group["TrackingUniqueIdentifier"] for group in groups[2:]] == [
        structure.tracking_uid for structure in analysis.structures
    ]
    assert measured(liver)[VOLUME] == (round(analysis.structures[0].volume_ml, 4), "ml")
    assert NUMBER not in measured(liver)
    assert measured(left)[NUMBER] == (1.0, "1")
    assert measured(left)[LESION_VOLUME] == (round(analysis.findings[0].volume_ml, 4), "ml")


def test_highdicom_tells_organs_from_lesions(study: SourceStudy, objects: ObjectStore) -> None:
    analysis = drawn_beside(study, study.lesion_labels())
    find = _report(write(analysis, objects)[1]).get_volumetric_roi_measurement_groups
    lesion = DicomCode("52988006", "SCT", "Lesion")
    kidney = DicomCode(KIDNEY.value, KIDNEY.scheme, KIDNEY.meaning)
    assert len(find(finding_type=lesion)) == 2
    organs = find(finding_type=kidney)
    assert [str(group.finding_category and group.finding_category.value) for group in organs] == ["91723000"] * 2
    sides = [site.laterality for group in organs for site in group.finding_sites]
    assert [side and side.meaning for side in sides] == ["Left", "Right"]
    assert all(not group.get_qualitative_evaluations(name=lesion) for group in organs)
    present = [group for group in find(finding_type=lesion) if group.get_qualitative_evaluations(name=lesion)]
    assert len(present) == 2


@pytest.mark.peer
def test_a_model_of_organs_alone_claims_no_absence(study: SourceStudy, objects: ObjectStore, tmp_path: Path) -> None:
    segmentation, path = write(drawn_alone(study), objects)
    assert pydicom.dcmread(segmentation).ContentLabel == "AI_ORGANS"
    groups = read_report(path, tmp_path)["Measurements"]
    assert [group["Finding"]["CodeMeaning"] for group in groups] == ["Liver", "Kidney", "Kidney"]
    dump = run(executable("dsrdump"), path)
    assert dump.returncode == 0
    assert not {"Absent", "Present", "Lesion"} & set(dump.stdout.replace('"', " ").split())


@pytest.mark.peer
def test_organs_without_a_lesion_come_with_a_statement_of_absence(
    study: SourceStudy, objects: ObjectStore, tmp_path: Path
) -> None:
    analysis = drawn_beside(study, np.zeros(AXIAL.shape, np.uint8))
    segmentation, path = write(analysis, objects)
    assert pydicom.dcmread(segmentation).ContentLabel == "AI_ORGANS"
    assert '"Lesion")=(272519000,SCT,"Absent")' in run(executable("dsrdump"), path).stdout
    assert iod_errors(path) == []
    assert len(read_segments(segmentation, tmp_path / "read")) == 3


@pytest.mark.peer
@pytest.mark.parametrize("plan", [CR, SC], ids=lambda plan: plan.name)
def test_in_a_flat_image_an_organ_is_named_without_a_volume(plan: FlatPlan, objects: ObjectStore) -> None:
    source = store_flat(plan, objects)
    labels = with_organ_numbers(lesion_labels())
    analysis = with_structures(source.analysis(lesion_labels()), labels, voxel_ml=0.0)
    segmentation, report = write(analysis, objects)
    assert iod_errors(segmentation) == []
    assert iod_errors(report) == []
    planar = _report(report).get_planar_roi_measurement_groups()
    assert len(planar) == 5
    left = planar[3]
    names = {measurement.name.value for measurement in left.get_measurements()}
    assert names == {NUMBER, "UNLIKENESS"}


@pytest.mark.peer
@pytest.mark.slow
def test_orthanc_keeps_lesions_and_organs_as_they_were_sent(
    study: SourceStudy, objects: ObjectStore, tmp_path: Path
) -> None:
    alone = store_study(LAYOUTS[1], objects)
    sent = [
        path
        for analysis in (drawn_beside(study, study.lesion_labels()), drawn_alone(alone))
        for path in write(analysis, objects)
    ]
    assert entity_errors([*(objects.path(frame.digest) for frame in study.frames), *sent[:2]]) == []
    (tmp_path / "pacs").mkdir()
    with orthanc(tmp_path / "pacs") as pacs:
        assert storescu(pacs.ae_title, pacs.port, *sent).returncode == 0
        for path in sent:
            kept = pydicom.dcmread(path)
            assert pydicom.dcmread(BytesIO(pacs.file(str(kept.SOPInstanceUID)))) == kept


def test_structures_that_contradict_the_label_map_are_refused(study: SourceStudy) -> None:
    good = drawn_beside(study, study.lesion_labels())
    missing = replace(good, structures=good.structures[:-1])
    gap = replace(good, structures=(*good.structures[:-1], replace(good.structures[-1], number=9)))
    on_a_lesion = replace(good, structures=tuple(replace(one, number=one.number - 1) for one in good.structures))
    for analysis in (missing, gap, on_a_lesion):
        with pytest.raises(ObjectInvalid):
            _built(analysis, study)


def test_a_segment_of_a_flat_image_cannot_claim_a_volume(objects: ObjectStore) -> None:
    source = store_flat(CR, objects)
    labels = with_organ_numbers(lesion_labels())
    analysis = with_structures(source.analysis(lesion_labels()), labels, voxel_ml=1.0)
    assert all(finding.extent is not Extent.VOLUME for finding in analysis.findings)
    with pytest.raises(ObjectInvalid, match="flat image"):
        write(analysis, objects)


def _built(analysis: Analysis, study: SourceStudy) -> Dataset:
    return build_segmentation(analysis, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())


def _report(path: Path) -> MeasurementReport:
    content = highdicom.sr.srread(path).content
    assert isinstance(content, MeasurementReport)
    return content
