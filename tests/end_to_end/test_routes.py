"""Routes end to end: what none wants stays quiet, several analyses of one study, and results that are superseded."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID, generate_uid

from phantom.study import write_phantom_study
from tests.support.peers import Orthanc, orthanc, storescu
from tests.support.system import QUICK, System, oncue_up

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(600)]

KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"
TWO_ROUTES = """
version = 1

[[route]]
name = "head-mr"
analyser = "zero-shot"
match = { modality = ["MR"], body_part = ["head"], not_description = "local" }

[[route]]
name = "left-knee-mr"
analyser = "zero-shot"
match = { modality = ["MR"], body_part = ["lower-limb"], laterality = "L", minimum_slices = 3 }
"""


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "pacs"
    folder.mkdir()
    with orthanc(folder) as running:
        yield running


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("head")
    return write_phantom_study(folder, seed=3, slices=8, size=64, lesion=True).series_folder


def _as_knee(head: Path, folder: Path, *, side: str, study_uid: str | None = None) -> Path:
    """Write the phantom's series as one of a knee, in a study of its own or in another's."""
    folder.mkdir()
    series_uid = generate_uid()
    for number, path in enumerate(sorted(head.glob("*.dcm")), start=1):
        dataset = pydicom.dcmread(path)
        dataset.BodyPartExamined, dataset.Laterality = "KNEE", side
        dataset.SeriesDescription = dataset.ProtocolName = f"PD TSE {side}"
        dataset.StudyDescription = "Knee" if study_uid is None else dataset.StudyDescription
        dataset.StudyInstanceUID = study_uid or f"{dataset.StudyInstanceUID[:50]}.9"
        dataset.SeriesInstanceUID = series_uid
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{series_uid[:58]}.{number}")
        dataset.save_as(folder / path.name)
    return folder


def _send(system: System, *paths: Path) -> None:
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.dcm")))]
    assert storescu("ONCUE", system.port, *files).returncode == 0


def _ended(studies: list[dict[str, Any]], *, count: int = 1) -> bool:
    return len(studies) == count and all(one["state"] in {"succeeded", "failed", "not_applicable"} for one in studies)


def _sent(deliveries: list[dict[str, Any]]) -> bool:
    return bool(deliveries) and all(one["state"] in {"sent", "superseded"} for one in deliveries)


def _held(pacs: Orthanc) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(io.BytesIO(pacs.file(uid))) for uid in pacs.sop_instance_uids()]


def test_a_knee_is_set_aside_quietly_and_never_segmented(tmp_path: Path, head: Path, pacs: Orthanc) -> None:
    with oncue_up(tmp_path / "state", destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"]) as system:
        _send(system, _as_knee(head, tmp_path / "knee", side="L"))
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert (study["state"], study["analyses"], study["priority"]) == ("not_applicable", [], None)
        assert system.ask("jobs", "list") == []
        assert pacs.sop_instance_uids() == ()
        assert "study:not-applicable" in {event["tag"] for event in system.ask("audit", "list")}


def test_two_regions_of_one_study_get_a_result_each_and_the_right_side_none(
    tmp_path: Path, head: Path, pacs: Orthanc
) -> None:
    routes = tmp_path / "routes.toml"
    routes.write_text(TWO_ROUTES)
    uid = str(pydicom.dcmread(next(head.glob("*.dcm")), stop_before_pixels=True).StudyInstanceUID)
    variables = {**QUICK, "ONCUE_GATEWAY_ROUTES": str(routes)}
    with oncue_up(tmp_path / "state", destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"], variables=variables) as system:
        left = _as_knee(head, tmp_path / "left", side="L", study_uid=uid)
        right = _as_knee(head, tmp_path / "right", side="R", study_uid=uid)
        _send(system, head, left, right)
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert [(one["route"], one["state"]) for one in study["analyses"]] == [
            ("head-mr", "succeeded"),
            ("left-knee-mr", "succeeded"),
        ]
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 4 and _sent(found))
        held = _held(pacs)
        assert sorted(one.Modality for one in held) == ["SEG", "SEG", "SR", "SR"]
        right_uid = str(pydicom.dcmread(next(right.glob("*.dcm")), stop_before_pixels=True).SeriesInstanceUID)
        assert not any(right_uid in one.to_json() for one in held)
        # A key object that comes late changes nothing: no revision, no second analysis.
        _send(system, _key_object(head, tmp_path))
        (after,) = system.wait_for("studies", "list", until=lambda found: found[0]["instances"] > study["instances"])
        assert (after["revision"], len(system.ask("jobs", "list"))) == (study["revision"], 2)


def test_a_late_slice_supersedes_the_result_that_the_pacs_has(tmp_path: Path, head: Path, pacs: Orthanc) -> None:
    files = sorted(head.glob("*.dcm"))
    destination = f"ORTHANC@127.0.0.1:{pacs.port}"
    variables = {**QUICK, "ONCUE_GATEWAY_REJECT_SUPERSEDED": destination}
    with oncue_up(tmp_path / "state", destinations=[destination], variables=variables) as system:
        _send(system, *files[:-1])
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 2 and _sent(found))
        first = {one.Modality: one for one in _held(pacs)}
        _send(system, files[-1])
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 5 and _sent(found))
        held = _held(pacs)
    (note,) = [one for one in held if one.Modality == "KO"]
    named = {
        str(item.ReferencedSOPInstanceUID)
        for study in note.CurrentRequestedProcedureEvidenceSequence
        for one in study.ReferencedSeriesSequence
        for item in one.ReferencedSOPSequence
    }
    assert named == {str(one.SOPInstanceUID) for one in first.values()}
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    (report,) = [one for one in held if one.Modality == "SR" and one.SOPInstanceUID != first["SR"].SOPInstanceUID]
    predecessor = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first["SR"].SOPInstanceUID


def test_a_corrected_patient_has_the_old_results_taken_back_and_may_be_corrected_back(
    tmp_path: Path, head: Path, pacs: Orthanc
) -> None:
    destination = f"ORTHANC@127.0.0.1:{pacs.port}"
    variables = {**QUICK, "ONCUE_GATEWAY_REJECT_SUPERSEDED": destination}
    corrected = _of_patient(head, tmp_path / "corrected", "CORRECTED-1")
    with oncue_up(tmp_path / "state", destinations=[destination], variables=variables) as system:
        _send(system, head)
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 2 and _sent(found))
        wrong = {str(one.PatientID) for one in _held(pacs)}
        _send(system, corrected)
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 5 and _sent(found))
        held = _held(pacs)
        (note,) = [one for one in held if one.Modality == "KO"]
        assert {str(note.PatientID)} == wrong
        assert sum(str(one.PatientID) == "CORRECTED-1" for one in held) == 2
        (event,) = [one for one in system.ask("audit", "list") if one["tag"] == "study:patient-changed"]
        assert "CORRECTED-1" not in json.dumps(event)
        _send(system, head)
        (study,) = system.wait_for("studies", "list", until=lambda found: found[0]["revision"] == 3 and _ended(found))
        assert study["state"] == "succeeded"
        found = system.wait_for("deliveries", "list", until=lambda found: len(found) == 8 and _sent(found))
        assert sum(one["kind"] == "REJECT" for one in found) == 2


def _of_patient(head: Path, folder: Path, patient_id: str) -> Path:
    """Write the very same images as another patient's, as a PACS does that was told of a mix-up."""
    folder.mkdir()
    for path in head.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = patient_id
        dataset.save_as(folder / path.name)
    return folder


def _key_object(head: Path, folder: Path) -> Path:
    dataset = pydicom.dcmread(next(head.glob("*.dcm")))
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(KEY_OBJECT)
    dataset.Modality, dataset.SeriesInstanceUID = "KO", generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    path = folder / "key-object.dcm"
    dataset.save_as(path)
    return path
