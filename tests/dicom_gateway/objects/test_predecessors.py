"""A report that replaces another says so."""

from __future__ import annotations

import pydicom
import pytest

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.writing import write_objects
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject
from tests.support.peers import executable, run
from tests.support.readers import iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, SourceStudy, store_study


@pytest.fixture
def study(objects: ObjectStore) -> SourceStudy:
    return store_study(LAYOUTS[0], objects)


def write(
    study: SourceStudy, objects: ObjectStore, predecessor: PredecessorDocument | None = None
) -> tuple[WrittenObject, ...]:
    analysis = study.analysis(study.lesion_labels())
    return write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment(), predecessor=predecessor)


def document(study: SourceStudy, report: WrittenObject) -> PredecessorDocument:
    study_uid = str(study.datasets[0].StudyInstanceUID)
    return PredecessorDocument(study_uid, report.series_instance_uid, report.sop_class_uid, report.sop_instance_uid)


@pytest.mark.peer
def test_a_report_names_the_one_that_it_replaces(study: SourceStudy, objects: ObjectStore) -> None:
    old = write(study, objects)
    path = objects.path(write(study, objects, document(study, old[1]))[1].digest)
    (named,) = pydicom.dcmread(path).PredecessorDocumentsSequence
    (series,) = named.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert named.StudyInstanceUID == study.datasets[0].StudyInstanceUID
    assert series.SeriesInstanceUID == old[1].series_instance_uid
    assert instance.ReferencedSOPClassUID == old[1].sop_class_uid
    assert instance.ReferencedSOPInstanceUID == old[1].sop_instance_uid
    assert iod_errors(path) == []
    assert run(executable("dsrdump"), path).returncode == 0
    assert "PredecessorDocumentsSequence" not in pydicom.dcmread(objects.path(old[1].digest))


@pytest.mark.slow
def test_the_same_result_of_a_new_revision_is_another_object_and_always_the_same_one(
    study: SourceStudy, objects: ObjectStore
) -> None:
    old = write(study, objects)
    new = write(study, objects, document(study, old[1]))
    newest = write(study, objects, document(study, new[1]))
    # What replaces an object must not fall with it when the old one is rejected.
    assert len({item.sop_instance_uid for item in (*old, *new, *newest)}) == 6
    assert write(study, objects, document(study, old[1])) == new
    report = pydicom.dcmread(objects.path(new[1].digest))
    evidence = str(report.CurrentRequestedProcedureEvidenceSequence[0])
    assert new[0].sop_instance_uid in evidence
    assert old[0].sop_instance_uid not in evidence


def test_a_result_without_predecessor_has_the_identity_that_archives_know_it_by(
    study: SourceStudy, objects: ObjectStore
) -> None:
    assert [item.sop_instance_uid[-12:] for item in write(study, objects)] == ["261353887751", "981491164771"]


def test_a_predecessor_in_a_study_with_an_ill_formed_uid_is_named_as_it_is(
    study: SourceStudy, objects: ObjectStore
) -> None:
    old = PredecessorDocument("1.2.03.4", "2.25.1", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.2")
    report = pydicom.dcmread(objects.path(write(study, objects, old)[1].digest))
    assert report.PredecessorDocumentsSequence[0].StudyInstanceUID == "1.2.03.4"
