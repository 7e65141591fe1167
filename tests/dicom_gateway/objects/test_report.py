"""The structured reports that oncue writes, read back by others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.audit_checkpoint import checkpoint_of
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.report import build_report
from dicom_gateway.objects.validation import check_object
from dicom_gateway.objects.writing import write_objects
from storage.domain import Analysis, ObjectKind
from storage.objects import ObjectStore
from tests.support.peers import executable, run
from tests.support.readers import iod_errors, read_report
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

AXIAL = LAYOUTS[0]


@pytest.fixture
def study(objects: ObjectStore) -> SourceStudy:
    """Return a stored axial series."""
    return store_study(AXIAL, objects)


def write_report(analysis: Analysis, objects: ObjectStore) -> Path:
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert written[-1].kind is ObjectKind.SR
    assert written[-1].sop_class_uid == Comprehensive3DSRStorage
    return objects.path(written[-1].digest)


def items(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """Yield (concept name, value) of every content item."""
    for item in dataset.get("ContentSequence", ()):
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if "MeasuredValueSequence" in item:
            measured = item.MeasuredValueSequence[0]
            yield name, f"{float(measured.NumericValue):g} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        elif "ConceptCodeSequence" in item:
            yield name, item.ConceptCodeSequence[0].CodeMeaning
        else:
            yield name, str(item.get("TextValue", item.get("UID", "")))
        yield from items(item)


def evidence(dataset: Dataset) -> set[str]:
    return {
        str(reference.ReferencedSOPInstanceUID)
        for procedure in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in procedure.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


@pytest.mark.peer
@pytest.mark.parametrize("layout", [AXIAL, LAYOUTS[5]], ids=lambda layout: layout.name)
@pytest.mark.parametrize("found", [True, False], ids=["lesions", "nothing"])
def test_dciodvfy_finds_no_error_in_a_report(layout: Layout, found: bool, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    labels = study.lesion_labels() if found else np.zeros(layout.shape, np.uint8)
    assert iod_errors(write_report(study.analysis(labels), objects)) == []


@pytest.mark.peer
def test_dcmqi_reads_each_lesion_with_its_segment_and_its_measurements(
    study: SourceStudy, objects: ObjectStore, tmp_path: Path
) -> None:
    analysis = study.analysis(study.lesion_labels())
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    report = read_report(objects.path(written[1].digest), tmp_path)
    assert report["VerificationFlag"] == "UNVERIFIED"
    assert report["CompletionFlag"] == "COMPLETE"
    assert report["observerContext"]["ObserverType"] == "DEVICE"
    assert len(report["Measurements"]) == len(analysis.findings)
    for group, finding in zip(report["Measurements"], analysis.findings, strict=True):
        assert group["TrackingIdentifier"] == finding.tracking_id
        assert group["TrackingUniqueIdentifier"] == finding.tracking_uid
        assert group["ReferencedSegment"] == finding.number
        assert group["segmentationSOPInstanceUID"] == written[0].sop_instance_uid
        assert group["SourceSeriesForImageSegmentation"] == analysis.series_instance_uid
        assert group["Finding"]["CodeValue"] == "52988006"
        assert group["FindingSite"]["CodeMeaning"] == "Brain"
        values = {
            item["quantity"]["CodeValue"]: (item["value"], item["units"]["CodeValue"])
            for item in group["measurementItems"]
        }
        assert (float(values["118565006"][0]), values["118565006"][1]) == (round(finding.volume_ml, 4), "ml")
        assert values["103339001"] == ("12.34", "mm")
        assert values["111012"] == ("87.65", "%")
        assert values["CLASS_PERCENT"] == ("75.0", "%")


@pytest.mark.peer
def test_dcmtk_reads_the_report(study: SourceStudy, objects: ObjectStore) -> None:
    path = write_report(study.analysis(study.lesion_labels()), objects)
    dump = run(executable("dsrdump"), path)
    assert dump.returncode == 0
    assert "Comprehensive 3D SR Document" in dump.stdout
    assert '"Few-shot class")=(LOW_GRADE_GLIOMA,99ONCUE,"low-grade glioma")' in dump.stdout
    assert "Warning" not in dump.stdout


def test_a_report_lists_source_images_and_segmentation_as_evidence(study: SourceStudy, objects: ObjectStore) -> None:
    written = write_objects(
        study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    report = pydicom.dcmread(objects.path(written[1].digest))
    sources = {str(source.SOPInstanceUID) for source in study.datasets}
    assert evidence(report) == sources | {written[0].sop_instance_uid}


@pytest.mark.peer
def test_nothing_found_is_a_report_that_says_absent_and_no_segmentation(
    study: SourceStudy, objects: ObjectStore, tmp_path: Path
) -> None:
    analysis = study.analysis(np.zeros(AXIAL.shape, np.uint8))
    written = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    assert [item.kind for item in written] == [ObjectKind.SR]
    path = objects.path(written[0].digest)
    content = list(items(pydicom.dcmread(path)))
    assert ("Lesion", "Absent") in content
    assert ("Certainty of Finding", "93 %") in content
    assert "Referenced Segment" not in dict(content)
    assert evidence(pydicom.dcmread(path)) == {str(source.SOPInstanceUID) for source in study.datasets}
    assert read_report(path, tmp_path)["VerificationFlag"] == "UNVERIFIED"


def test_a_report_says_present_which_class_and_by_what(study: SourceStudy, objects: ObjectStore) -> None:
    content = list(items(pydicom.dcmread(write_report(study.analysis(study.lesion_labels()), objects))))
    assert content.count(("Lesion", "Present")) == 2
    assert content.count(("Few-shot class", "low-grade glioma")) == 2
    assert content.count(("Algorithm Family", "Artificial Intelligence")) == 4
    assert ("Algorithm Name", "latent-anomaly") in content
    assert ("Algorithm Name", "prototypes") in content
    assert ("Algorithm Parameters", "weights_sha256=" + "cd" * 32) in content


@pytest.mark.peer
@pytest.mark.parametrize("found", [True, False], ids=["lesions", "nothing"])
@pytest.mark.parametrize(("score", "meaning"), [(0.0, "Like training data"), (2.5, "Unlike training data")])
def test_a_report_says_whether_the_input_is_like_the_training_data(
    study: SourceStudy, objects: ObjectStore, found: bool, score: float, meaning: str
) -> None:
    labels = study.lesion_labels() if found else np.zeros(AXIAL.shape, np.uint8)
    path = write_report(study.analysis(labels, out_of_distribution=score), objects)
    content = list(items(pydicom.dcmread(path)))
    groups = 2 if found else 1
    assert content.count(("Likeness to training data", meaning)) == groups
    assert content.count(("Distance beyond training data", f"{score:g} 1")) == groups
    assert iod_errors(path) == []


@pytest.mark.peer
@pytest.mark.parametrize("found", [True, False], ids=["lesions", "nothing"])
def test_a_report_says_nothing_of_a_likeness_that_the_model_does_not_measure(
    study: SourceStudy, objects: ObjectStore, found: bool
) -> None:
    labels = study.lesion_labels() if found else np.zeros(AXIAL.shape, np.uint8)
    path = write_report(study.analysis(labels, out_of_distribution=None), objects)
    names = {name for name, _ in items(pydicom.dcmread(path))}
    assert names.isdisjoint({"Likeness to training data", "Distance beyond training data"})
    assert iod_errors(path) == []


@pytest.mark.peer
def test_a_classifier_that_abstains_is_reported_with_its_reason(study: SourceStudy, objects: ObjectStore) -> None:
    analysis = study.analysis(study.lesion_labels())
    findings = tuple(
        replace(finding, label=None, label_probability=None, abstained="too few support cases for a decision")
        for finding in analysis.findings
    )
    path = write_report(replace(analysis, findings=findings), objects)
    content = list(items(pydicom.dcmread(path)))
    assert ("Few-shot class", "Abstained") in content
    assert ("Reason for abstention", "too few support cases for a decision") in content
    assert "Probability of few-shot class" not in dict(content)
    assert iod_errors(path) == []


@pytest.mark.peer
def test_a_label_in_any_script_is_written_in_the_sources_character_set(
    study: SourceStudy, objects: ObjectStore
) -> None:
    analysis = study.analysis(study.lesion_labels())
    findings = tuple(replace(finding, label="Läsion 肿瘤\\x") for finding in analysis.findings)
    path = write_report(replace(analysis, findings=findings), objects)
    assert ("Few-shot class", "Lasion x") in list(items(pydicom.dcmread(path)))
    assert iod_errors(path) == []


def test_the_private_codes_name_their_scheme(study: SourceStudy, objects: ObjectStore) -> None:
    report = pydicom.dcmread(write_report(study.analysis(study.lesion_labels()), objects))
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == "99ONCUE"
    assert scheme.CodingSchemeName == "oncue result concepts"


@pytest.mark.peer
def test_a_report_carries_the_checkpoint_of_the_audit_log(study: SourceStudy, objects: ObjectStore) -> None:
    note = "oncue\n7\nAAAA\n\n\u2014 oncue BBBB\n"
    path = write_report(study.analysis(study.lesion_labels(), checkpoint=note), objects)
    assert checkpoint_of(pydicom.dcmread(path)) == note
    assert iod_errors(path) == []
    assert checkpoint_of(pydicom.dcmread(write_report(study.analysis(study.lesion_labels()), objects))) is None


def test_lesions_are_never_reported_without_their_segmentation(study: SourceStudy) -> None:
    analysis = study.analysis(study.lesion_labels())
    speechless = replace(study.analysis(np.zeros(AXIAL.shape, np.uint8)), findings=())
    for bad in (analysis, speechless):
        with pytest.raises(ObjectInvalid):
            build_report(bad, study.datasets, segmentation=None, written_at=WRITTEN_AT, equipment=Equipment())


def test_a_report_that_does_not_name_its_evidence_does_not_pass_the_check(
    study: SourceStudy, objects: ObjectStore
) -> None:
    written = write_objects(
        study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    report = pydicom.dcmread(objects.path(written[1].digest))
    uids = [str(source.SOPInstanceUID) for source in study.datasets]
    check_object(report, references=[*uids, written[0].sop_instance_uid])
    series = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence = [
        item for item in series if item.SeriesInstanceUID == study.datasets[0].SeriesInstanceUID
    ]
    with pytest.raises(ObjectInvalid, match="1 of the instances"):
        check_object(report, references=uids)
