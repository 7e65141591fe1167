"""Rejection notes, read back by others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.rejection import RejectionReason
from dicom_gateway.objects.writing import write_objects, write_parametric_map, write_rejection
from storage.domain import ObjectKind
from storage.errors import ObjectMissing
from storage.objects import ObjectStore
from storage.written_objects import WrittenObject
from tests.dicom_gateway.objects.test_report import evidence
from tests.support.peers import executable, orthanc, run, storescu
from tests.support.readers import entity_errors, iod_errors
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study


@pytest.fixture
def written(objects: ObjectStore) -> tuple[WrittenObject, ...]:
    """Return the segmentation, report and parametric map of one job."""
    analysis = store_study(LAYOUTS[0], objects).explained(objects)
    both = write_objects(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment())
    return (*both, write_parametric_map(analysis, objects, written_at=WRITTEN_AT, equipment=Equipment()))


def reject(
    written: tuple[WrittenObject, ...], objects: ObjectStore, reason: RejectionReason = RejectionReason.QUALITY
) -> WrittenObject:
    return write_rejection(written, objects, written_at=WRITTEN_AT, equipment=Equipment(), reason=reason)


@pytest.mark.peer
def test_a_note_names_everything_that_it_takes_back(written: tuple[WrittenObject, ...], objects: ObjectStore) -> None:
    note = reject(written, objects)
    assert (note.kind, note.sop_class_uid) == (ObjectKind.REJECTION, KeyObjectSelectionDocumentStorage)
    path = objects.path(note.digest)
    dataset = pydicom.dcmread(path)
    assert dataset.Modality == "KO"
    assert evidence(dataset) == {item.sop_instance_uid for item in written}
    document = highdicom.ko.KeyObjectSelectionDocument.from_dataset(dataset)
    named = {str(reference.referenced_sop_instance_uid): reference for reference in document.content.get_references()}
    assert set(named) == evidence(dataset)
    assert {item.kind: named[item.sop_instance_uid].value_type.value for item in written} == {
        ObjectKind.SEG: "IMAGE",
        ObjectKind.SR: "COMPOSITE",
        ObjectKind.PM: "IMAGE",
    }
    assert iod_errors(path) == []
    digests = [frame.digest for frame in store_study(LAYOUTS[0], objects).frames] + [item.digest for item in written]
    assert entity_errors([path, *map(objects.path, digests)]) == []


@pytest.mark.peer
@pytest.mark.parametrize(
    ("reason", "value", "meaning"),
    [
        (RejectionReason.QUALITY, "113001", "Rejected for Quality Reasons"),
        (RejectionReason.PATIENT_SAFETY, "113037", "Rejected for Patient Safety Reasons"),
        (RejectionReason.WORKLIST_ENTRY, "113038", "Incorrect Modality Worklist Entry"),
        (RejectionReason.DATA_RETENTION, "113039", "Data Retention Policy Expired"),
    ],
)
def test_the_title_says_why(
    reason: RejectionReason, value: str, meaning: str, written: tuple[WrittenObject, ...], objects: ObjectStore
) -> None:
    path = objects.path(reject(written, objects, reason).digest)
    (title,) = pydicom.dcmread(path).ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning) == (value, "DCM", meaning)
    dump = run(executable("dsrdump"), path)
    assert dump.returncode == 0
    assert f'CONTAINER:(,,"{meaning}")' in dump.stdout
    assert "Warning" not in dump.stdout


def test_a_note_carries_the_patient_of_the_objects_that_it_takes_back(objects: ObjectStore) -> None:
    mistaken = {"PatientID": "WRONG-1", "PatientName": "Wrong^Name", "AccessionNumber": "OLD-1"}
    study = store_study(LAYOUTS[0], objects, **mistaken)
    written = write_objects(
        study.analysis(study.lesion_labels()), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    for frame in study.frames:  # the sources have been corrected, or are gone
        objects.path(frame.digest).unlink()
    note = pydicom.dcmread(objects.path(reject(written, objects).digest))
    assert {keyword: note[keyword].value for keyword in mistaken} == mistaken
    assert note.StudyInstanceUID == study.datasets[0].StudyInstanceUID
    assert note.PatientBirthDate == "19600102"
    assert note.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.slow
def test_the_same_objects_and_reason_give_the_same_note(
    written: tuple[WrittenObject, ...], objects: ObjectStore
) -> None:
    first = reject(written, objects)
    assert reject(written, objects) == first
    assert reject(written[::-1], objects).sop_instance_uid == first.sop_instance_uid
    later = write_rejection(written, objects, written_at=WRITTEN_AT + timedelta(hours=1), equipment=Equipment())
    assert later.sop_instance_uid == first.sop_instance_uid
    others = (reject(written[:1], objects), reject(written, objects, RejectionReason.DATA_RETENTION))
    assert len({item.sop_instance_uid for item in (first, *others)}) == 3


def test_a_note_on_nothing_on_two_studies_or_on_what_is_gone_is_refused(
    written: tuple[WrittenObject, ...], objects: ObjectStore
) -> None:
    other = store_study(LAYOUTS[1], objects)
    elsewhere = write_objects(
        other.analysis(np.zeros(other.layout.shape, np.uint8)), objects, written_at=WRITTEN_AT, equipment=Equipment()
    )
    with pytest.raises(ObjectInvalid, match="must name"):
        reject((), objects)
    with pytest.raises(ObjectInvalid, match="StudyInstanceUID"):
        reject((*written, *elsewhere), objects)
    objects.path(written[0].digest).unlink()
    with pytest.raises(ObjectMissing, match=written[0].digest[:12]):
        reject(written, objects)


@pytest.mark.peer
@pytest.mark.slow
def test_orthanc_keeps_the_note_beside_what_it_takes_back(
    written: tuple[WrittenObject, ...], objects: ObjectStore, tmp_path: Path
) -> None:
    note = reject(written, objects)
    (tmp_path / "pacs").mkdir()
    with orthanc(tmp_path / "pacs") as pacs:
        paths = [objects.path(item.digest) for item in (*written, note)]
        assert storescu(pacs.ae_title, pacs.port, *paths).returncode == 0
        assert note.sop_instance_uid in pacs.sop_instance_uids()
        (study,) = pacs.get("/studies?expand")
        assert len(study["Series"]) == len(written) + 1
