"""The shipped models from C-STORE to the SR in Orthanc, and a real PET, CT and MR study with a route for each part."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from phantom.study import write_phantom_study
from tests.support.peers import Orthanc, orthanc, storescu
from tests.support.required import present
from tests.support.system import QUICK, System, oncue_up

pytestmark = [pytest.mark.peer, pytest.mark.slow, pytest.mark.timeout(900)]

SHIPPED = {"ONCUE_STORAGE_RESERVE_MEGABYTES": "0", "ONCUE_WORKER_MODE": "fast"}
LIMB_ROUTES = """
version = 1
""" + "".join(
    f"""
[[route]]
name = "limb-{modality.lower()}"
analyser = "zero-shot"
unfamiliar = "send"
match = {{ modality = ["{modality}"], body_part = ["lower-limb"], minimum_slices = 10 }}
"""
    for modality in ("CT", "MR", "PT")
)


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "pacs"
    folder.mkdir()
    with orthanc(folder) as running:
        yield running


def _send(system: System, folder: Path) -> None:
    assert storescu("ONCUE", system.port, folder).returncode == 0


def _ended(studies: list[dict[str, Any]]) -> bool:
    ended = {"succeeded", "failed", "not_applicable"}
    return len(studies) == 1 and all(one["state"] in ended for one in (*studies, *studies[0]["analyses"]))


def _all_sent(deliveries: list[dict[str, Any]]) -> bool:
    return bool(deliveries) and all(one["state"] == "sent" for one in deliveries)


def _held(pacs: Orthanc, modality: str) -> list[pydicom.Dataset]:
    found = [pydicom.dcmread(io.BytesIO(pacs.file(uid))) for uid in pacs.sop_instance_uids()]
    return [one for one in found if one.Modality == modality]


def test_the_shipped_segmenter_and_classifier_write_what_the_pacs_gets(tmp_path: Path, pacs: Orthanc) -> None:
    phantom = write_phantom_study(tmp_path / "phantom", seed=7, slices=20, size=192, lesion=True)
    with oncue_up(tmp_path / "state", destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"], variables=SHIPPED) as system:
        _send(system, phantom.series_folder)
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert (study["state"], study["finding"]) == ("succeeded", "Lesion")
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 2 and _all_sent(found))
    (report,), (segmentation,) = _held(pacs, "SR"), _held(pacs, "SEG")
    text = report.to_json()
    assert segmentation.SOPInstanceUID in text
    assert "route=head-mr" in text
    assert "weights_sha256=" in text
    algorithms = {item.TextValue for item in _items(report) if _name(item) == "111001" and "TextValue" in item}
    assert algorithms == {"oncue-diffugts-style", "few-shot-logistic"}


def test_a_real_pet_ct_mr_study_gets_a_result_for_each_part(tmp_path: Path, real_data: Path, pacs: Orthanc) -> None:
    folder = present(real_data / "sarcoma-ct-pet-mr") / "dicom" / "STS_041"
    routes = tmp_path / "routes.toml"
    routes.write_text(LIMB_ROUTES)
    variables = {**QUICK, "ONCUE_GATEWAY_ROUTES": str(routes), "ONCUE_WORKER_GUARD": "true"}
    with oncue_up(tmp_path / "state", destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"], variables=variables) as system:
        _send(system, folder)
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert [(one["route"], one["state"], one["code"]) for one in study["analyses"]] == [
            ("limb-ct", "succeeded", None),
            ("limb-mr", "succeeded", None),
            ("limb-pt", "succeeded", None),
        ]
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 6 and _all_sent(found))
    sources = {_modality_of(folder, one.ReferencedSeriesSequence[0].SeriesInstanceUID) for one in _held(pacs, "SEG")}
    assert sources == {"CT", "MR", "PT"}


def test_the_shipped_routes_send_mask_and_report_of_each_part_of_a_real_sarcoma_study(
    tmp_path: Path, real_data: Path, pacs: Orthanc
) -> None:
    folder = present(real_data / "sarcoma-ct-pet-mr") / "dicom" / "STS_051"
    variables = {**QUICK, "ONCUE_WORKER_GUARD": "true"}
    with oncue_up(tmp_path / "state", destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"], variables=variables) as system:
        _send(system, folder)
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert [(one["route"], one["state"], one["code"]) for one in study["analyses"]] == [
            ("limb-ct", "succeeded", None),
            ("limb-mr", "succeeded", None),
            ("limb-pet", "succeeded", None),
        ]
        system.wait_for("deliveries", "list", until=lambda found: len(found) == 6 and _all_sent(found))
    segmentations = _held(pacs, "SEG")
    sources = {_modality_of(folder, one.ReferencedSeriesSequence[0].SeriesInstanceUID) for one in segmentations}
    assert sources == {"CT", "MR", "PT"}
    assert {one.SegmentSequence[0].SegmentAlgorithmName for one in segmentations} == {"oncue-family"}
    assert {one.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning for one in segmentations} == {
        "Lesion"
    }


def test_a_limb_is_refused_by_what_it_shows_where_a_route_only_looks_at_modality(
    tmp_path: Path, real_data: Path, pacs: Orthanc
) -> None:
    """The headers say nothing of the region, so the shipped route wants it; the pictures decide."""
    folder = tmp_path / "limb"
    folder.mkdir()
    source = present(real_data / "sarcoma-ct-pet-mr") / "dicom" / "STS_041"
    for number, path in enumerate(sorted(source.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        if dataset.Modality == "MR":
            del dataset.BodyPartExamined
            dataset.SeriesDescription = dataset.StudyDescription = "T1"
            dataset.save_as(folder / f"{number:04}.dcm")
    variables = {**QUICK, "ONCUE_WORKER_GUARD": "true"}
    with oncue_up(tmp_path / "state", destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"], variables=variables) as system:
        _send(system, folder)
        (study,) = system.wait_for("studies", "list", until=_ended)
        assert (study["state"], study["analyses"][0]["code"]) == ("failed", "body_part_mismatch")
        assert system.ask("deliveries", "list") == []
    assert pacs.sop_instance_uids() == ()


def _items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from _items(item)


def _name(item: pydicom.Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue) if "ConceptNameCodeSequence" in item else ""


def _modality_of(folder: Path, series_instance_uid: str) -> str:
    headers = (pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.rglob("*.dcm")))
    return next(str(one.Modality) for one in headers if one.SeriesInstanceUID == series_instance_uid)
