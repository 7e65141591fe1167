"""All forms of one analysis together: which are written, what ties them, and what happens to one that fails."""

from __future__ import annotations

import io
import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import structlog
from pydicom.dataset import Dataset

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import SourceUnusable
from dicom_gateway.objects import forms as forms_module
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.forms import BUILDERS, Draft, Material, Results, write_forms
from dicom_gateway.objects.predecessors import PredecessorDocument
from dicom_gateway.objects.sop_classes import SOP_CLASSES
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.sending.sender import send
from storage.domain import Analysis, ObjectKind
from storage.errors import ObjectMissing
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject
from tests.support.drawn_organs import drawn_alone, drawn_beside
from tests.support.flat_sources import FLAT_PLANS, US, FlatPlan, lesion_labels, store_flat
from tests.support.peers import orthanc
from tests.support.pictured import pictured, with_pictures
from tests.support.readers import entity_errors, iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, Layout, SourceStudy, store_study

AXIAL, ENHANCED = LAYOUTS[0], LAYOUTS[5]
ALL = tuple(BUILDERS)
SEG, LABELMAP, SR, SC, GSPS, KO, PDF, PM = (
    ObjectKind.SEG,
    ObjectKind.LABELMAP,
    ObjectKind.SR,
    ObjectKind.SC,
    ObjectKind.GSPS,
    ObjectKind.KO,
    ObjectKind.PDF,
    ObjectKind.PM,
)


def write(analysis: Analysis, objects: ObjectStore, forms: Collection[ObjectKind] = ALL) -> tuple[WrittenObject, ...]:
    return write_forms(analysis, objects, forms, written_at=WRITTEN_AT, equipment=Equipment())


def full(study: SourceStudy, objects: ObjectStore) -> Analysis:
    """Return an analysis that every form applies to."""
    analysis = pictured(study, study.lesion_labels(), objects)
    return replace(analysis, explanation=study.explained(objects).explanation)


def kinds(written: Collection[WrittenObject]) -> list[ObjectKind]:
    return list(dict.fromkeys(item.kind for item in written))


def read(written: Collection[WrittenObject], objects: ObjectStore) -> list[Dataset]:
    return [pydicom.dcmread(objects.path(item.digest)) for item in written]


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("layout", [AXIAL, ENHANCED], ids=lambda layout: layout.name)
def test_all_forms_are_sound_and_belong_together(layout: Layout, objects: ObjectStore) -> None:
    study = store_study(layout, objects)
    written = write(full(study, objects), objects)
    assert [item.kind for item in written] == [SEG, LABELMAP, SR, SC, SC, SC, GSPS, KO, PDF, PM]
    assert [item.flaw for item in written] == [None] * len(written)
    assert [item.sop_class_uid for item in written] == [SOP_CLASSES[item.kind] for item in written]
    paths = [objects.path(item.digest) for item in written]
    assert [iod_errors(path) for path in paths] == [[]] * len(paths)
    images = {objects.path(frame.digest) for frame in study.frames}
    assert entity_errors([*images, *paths]) == []
    datasets = read(written, objects)
    assert {dataset.StudyInstanceUID for dataset in datasets} == {study.datasets[0].StudyInstanceUID}
    assert {str(dataset.PatientName) for dataset in datasets} == {"Größe^Zoë"}
    assert {dataset.PatientID for dataset in datasets} == {"PATIENT-17"}


def test_the_tracking_uids_of_lesions_are_the_same_in_every_form_that_has_them(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)
    lesions = {finding.tracking_uid for finding in analysis.findings}
    tracked = [SEG, LABELMAP, SR, GSPS]
    by_kind = dict(zip(tracked, read(write(analysis, objects, tracked), objects), strict=True))
    for kind in (SEG, LABELMAP, GSPS):
        found = {str(element.value) for element in by_kind[kind].iterall() if element.keyword == "TrackingUID"}
        assert found == lesions
    assert lesions <= {str(element.value) for element in by_kind[SR].iterall() if element.keyword == "UID"}


def test_the_same_analysis_gives_the_same_bytes(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)
    assert write(analysis, objects) == write(analysis, objects)


def test_a_report_has_one_content_whatever_goes_with_it(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)
    (alone,) = write(analysis, objects, [SR])
    assert alone in write(analysis, objects)
    assert kinds(write(analysis, objects, [KO, SR, SEG])) == [SEG, SR, KO]


def test_one_uid_names_one_content_whatever_the_forms(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)
    digests: dict[str, set[str]] = {}
    for forms in (ALL, [KO], [KO, SR], [KO, SEG], [KO, LABELMAP], [SR, SC], [GSPS, SEG]):
        for item in write(analysis, objects, forms):
            digests.setdefault(item.sop_instance_uid, set()).add(item.digest)
    assert [len(contents) for contents in digests.values()] == [1] * len(digests)


def test_a_revision_has_objects_of_its_own(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)
    first = write(analysis, objects)
    report = next(item for item in first if item.kind is SR)
    predecessor = PredecessorDocument.of(str(study.datasets[0].StudyInstanceUID), report)
    second = write_forms(analysis, objects, ALL, written_at=WRITTEN_AT, equipment=Equipment(), predecessor=predecessor)
    assert not {item.sop_instance_uid for item in first} & {item.sop_instance_uid for item in second}
    assert [item.flaw for item in second] == [None] * len(second)


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("plan", FLAT_PLANS, ids=lambda plan: plan.name)
def test_a_flat_image_has_every_form_but_a_map(plan: FlatPlan, objects: ObjectStore) -> None:
    source = store_flat(plan, objects)
    written = write(pictured(source, lesion_labels(), objects), objects)
    expected = [SEG, LABELMAP, SR, SC, GSPS, KO, PDF]
    assert kinds(written) == [kind for kind in expected if kind is not GSPS or plan is not US]
    assert [item.flaw for item in written] == [None] * len(written)
    assert [iod_errors(objects.path(item.digest)) for item in written] == [[]] * len(written)


def test_forms_that_do_not_apply_are_left_out(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    nothing = np.zeros_like(study.lesion_labels())
    assert kinds(write(with_pictures(study.analysis(nothing), nothing, objects), objects)) == [SR, SC, PDF]
    assert kinds(write(study.analysis(nothing), objects)) == [SR, PDF]
    organs = drawn_alone(study)
    assert organs.label_map is not None
    shown = with_pictures(organs, nothing, objects, organs=organs.label_map.labels)
    assert kinds(write(shown, objects)) == [SEG, LABELMAP, SR, SC, PDF]
    both = drawn_beside(study, study.lesion_labels())
    assert kinds(write(both, objects)) == [SEG, LABELMAP, SR, GSPS, KO, PDF]
    image = store_flat(US, objects)
    assert kinds(write(image.assessment(label="benign", label_probability=0.7), objects)) == [SR, PDF]
    assert write(image.assessment(label="benign", label_probability=0.7), objects, [SEG, GSPS, KO]) == ()


def test_graphics_are_of_lesions_and_not_of_organs(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    (state,) = read(write(drawn_beside(study, study.lesion_labels()), objects, [GSPS]), objects)
    assert {annotation.GraphicLayer for annotation in state.GraphicAnnotationSequence} == {"LESION_1", "LESION_2"}


def test_a_form_that_breaks_a_rule_is_kept_with_its_flaw_and_referred_to_by_none(
    objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)

    def broken(material: Material, results: Results) -> list[Draft]:
        (draft,) = BUILDERS[SEG](material, results)
        flawed = Dataset()
        flawed.update(draft.dataset)
        flawed.file_meta = draft.dataset.file_meta
        flawed.PixelData = draft.dataset.PixelData[:-8] + bytes(8)
        flawed.ContentLabel = ""
        return [Draft(flawed, draft.references)]

    monkeypatch.setattr(forms_module, "BUILDERS", {**BUILDERS, SEG: broken})
    written = write(analysis, objects)
    by_kind = {item.kind: item for item in written}
    assert by_kind[SEG].flaw == "object_invalid: the object has no ContentLabel"
    assert objects.path(by_kind[SEG].digest).exists()
    assert [item.flaw for item in written if item.kind is not SEG] == [None] * (len(written) - 1)
    content = objects.get(by_kind[KO].digest)
    assert by_kind[SEG].sop_instance_uid.encode() not in content
    assert by_kind[LABELMAP].sop_instance_uid.encode() in content


def test_a_form_that_cannot_be_built_holds_up_no_other(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = replace(full(study, objects), overlays=("ab" * 32,))
    with structlog.testing.capture_logs() as logged:
        assert kinds(write(analysis, objects)) == [SEG, LABELMAP, SR, GSPS, KO, PM]
    failed = [(entry["form"], entry["code"]) for entry in logged if entry["event"] == "form.failed"]
    assert failed == [("SC", ObjectMissing.code), ("PDF", ObjectMissing.code)]
    with pytest.raises(ObjectMissing):
        write(analysis, objects, [SC])


def test_a_result_without_its_report_is_none(objects: ObjectStore) -> None:
    study = store_study(AXIAL, objects)
    analysis = full(study, objects)
    assert analysis.label_map is not None
    smaller = replace(analysis.label_map, labels=analysis.label_map.labels[:, :, :18])
    with pytest.raises(SourceUnusable):
        write(replace(analysis, label_map=smaller), objects)


def test_nothing_of_a_patient_is_logged(objects: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    study = store_study(AXIAL, objects, PatientName="Verylong" * 9, PatientBirthDate="1960-13-45")
    written = write(full(study, objects), objects)
    assert [item.flaw for item in written] == [None] * len(written)
    assert "Verylong" not in caplog.text
    assert "1960-13-45" not in caplog.text


@pytest.mark.peer
@pytest.mark.slow
def test_orthanc_takes_all_forms_and_gives_them_back(objects: ObjectStore, tmp_path: Path) -> None:
    study = store_study(AXIAL, objects)
    written = write(full(study, objects), objects)
    folder = tmp_path / "pacs"
    folder.mkdir()
    with orthanc(folder) as pacs:
        outcomes = send(
            [
                Outgoing(objects.path(item.digest), item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid)
                for item in written
            ],
            Destination(pacs.ae_title, "127.0.0.1", pacs.port),
        )
        refused = [item for item, outcome in zip(written, outcomes, strict=True) if outcome.status != 0]
        # An Orthanc that does not know the SOP class takes it through its web interface all the same.
        assert kinds(refused) in ([], [LABELMAP])
        for item in refused:
            pacs.rest("POST", "/instances", objects.get(item.digest))
        assert set(pacs.sop_instance_uids()) == {item.sop_instance_uid for item in written}
        for item in written:
            given = pydicom.dcmread(io.BytesIO(pacs.file(item.sop_instance_uid)))
            assert given == pydicom.dcmread(objects.path(item.digest))
