"""The main job: a study comes in over DICOM, a segmentation and a report go back, and all of it can be asked for."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID, Comprehensive3DSRStorage, SegmentationStorage

from tests.support.peers import Orthanc, dcmtk_storescp, executable, orthanc, storescu
from tests.support.system import QUICK, System, oncue_up, run_oncue

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a phantom study that `oncue phantom` wrote, without its truth."""
    out = tmp_path_factory.mktemp("phantom")
    assert run_oncue("phantom", "--out", str(out), "--seed", "5").returncode == 0
    assert (out / "truth.npz").is_file()
    assert not list((out / "flair").glob("*.npz"))
    return out


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    folder = tmp_path / "pacs"
    folder.mkdir()
    with orthanc(folder) as running:
        yield running


def _send(system: System, *paths: Path) -> None:
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.dcm")))]
    sent = storescu("ONCUE", system.port, *files)
    assert sent.returncode == 0, sent.stdout


def _succeeded(studies: list[dict[str, Any]]) -> bool:
    return bool(studies) and all(study["state"] == "succeeded" for study in studies)


def _delivered(deliveries: list[dict[str, Any]], *, count: int = 2) -> bool:
    return len(deliveries) == count and all(item["state"] == "sent" for item in deliveries)


def _received(pacs: Orthanc) -> dict[str, pydicom.Dataset]:
    found = [pydicom.dcmread(io.BytesIO(pacs.file(uid))) for uid in pacs.sop_instance_uids()]
    return {str(item.SOPClassUID): item for item in found}


def test_a_study_that_comes_in_goes_back_as_seg_and_sr_and_everything_is_on_record(
    tmp_path: Path, phantom: Path, pacs: Orthanc
) -> None:
    pacs_address = f"ORTHANC@127.0.0.1:{pacs.port}"
    with oncue_up(tmp_path / "state", destinations=[pacs_address], from_nothing=True) as system:
        _send(system, phantom)
        (study,) = system.wait_for("studies", "list", until=_succeeded)
        deliveries = system.wait_for("deliveries", "list", until=_delivered)
        _check_listings(system, study)
        _check_objects(_received(pacs), study, deliveries)
        _check_pages(system, study)
        _check_that_sending_again_changes_nothing(system, phantom, pacs)
        _check_that_a_late_localizer_costs_no_second_analysis(system, phantom, pacs)
        assert system.ask("audit", "verify")["problems"] == []
    _check_that_a_restart_loses_nothing(tmp_path / "state", phantom, pacs)


def _check_listings(system: System, study: dict[str, Any]) -> None:
    assert study.keys() == {
        "study_instance_uid",
        "revision",
        "state",
        "priority",
        "instances",
        "finding",
        "volume_ml",
        "confidence",
        "analyses",
        "cursor",
    }
    (analysis,) = study["analyses"]
    assert analysis == {
        "route": "head-mr",
        **{key: study[key] for key in ("state", "finding", "volume_ml", "confidence", "priority")},
        "code": None,
    }
    assert (study["revision"], study["instances"]) == (1, 27)
    assert study["priority"] in ("STAT", "HIGH", "ROUTINE", "LOW")
    assert study["volume_ml"] > 0
    (job,) = system.ask("jobs", "list")
    assert job == {
        "id": job["id"],
        "study_instance_uid": study["study_instance_uid"],
        "revision": 1,
        "route": "head-mr",
        "pool": "default",
        "state": "succeeded",
        "attempts": 1,
        "code": None,
        "cursor": str(job["id"]),
    }
    (entry,) = system.ask("worklist")
    assert entry["study_instance_uid"] == study["study_instance_uid"]
    tags = [event["tag"] for event in reversed(system.ask("audit", "list"))]
    for earlier, later in (
        ("association:opened", "study:opened"),
        ("instance:stored", "study:closed"),
        ("study:closed", "job:opened"),
        ("job:opened", "job:claimed"),
        ("job:claimed", "job:succeeded"),
        ("study:analysed", "object:written"),
        ("object:written", "delivery:sent"),
    ):
        assert tags.index(earlier) < tags.index(later), tags


def _check_objects(
    received: dict[str, pydicom.Dataset], study: dict[str, Any], deliveries: list[dict[str, Any]]
) -> None:
    assert received.keys() == {str(SegmentationStorage), str(Comprehensive3DSRStorage)}
    assert {str(item.SOPInstanceUID) for item in received.values()} == {item["sop_instance_uid"] for item in deliveries}
    assert {item["kind"] for item in deliveries} == {"SEG", "SR"}
    assert {item["status"] for item in deliveries} == {0}
    for item in received.values():
        assert item.StudyInstanceUID == study["study_instance_uid"]
        assert item.PatientID == "PHANTOM000005"


def _check_pages(system: System, study: dict[str, Any]) -> None:
    for path, wanted in (
        ("/", "PHANTOM000005"),
        ("/studies/1", study["study_instance_uid"]),
        ("/audit", "job:claimed"),
    ):
        with urllib.request.urlopen(system.pages + path, timeout=30) as answer:  # noqa: S310 - our own loopback server
            assert wanted in answer.read().decode()
    with urllib.request.urlopen(f"{system.pages}/healthz", timeout=30) as answer:  # noqa: S310 - our own loopback server
        assert json.load(answer)["complete"] is True


def _check_that_sending_again_changes_nothing(system: System, phantom: Path, pacs: Orthanc) -> None:
    before = (system.ask("studies", "list"), system.ask("jobs", "list"), system.ask("deliveries", "list"))
    held, last = pacs.sop_instance_uids(), system.ask("audit", "list")[0]["seq"]
    _send(system, phantom)
    # The end of the association is on record behind its images.
    events = system.wait_for(
        "audit", "list", "--after", str(last), until=lambda found: "association:closed" in {one["tag"] for one in found}
    )
    tags = {event["tag"] for event in events}
    assert tags - {"audit:queried"} <= {"association:opened", "association:closed"}
    assert (system.ask("studies", "list"), system.ask("jobs", "list"), system.ask("deliveries", "list")) == before
    assert pacs.sop_instance_uids() == held


def _check_that_a_late_localizer_costs_no_second_analysis(system: System, phantom: Path, pacs: Orthanc) -> None:
    late = pydicom.dcmread(phantom / "localizer" / "0001.dcm")
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = UID(f"{late.SOPInstanceUID[:50]}.1")
    path = phantom.parent / "late.dcm"
    late.save_as(path)
    held = pacs.sop_instance_uids()
    _send(system, path)
    (study,) = system.wait_for(
        "studies", "list", until=lambda studies: studies[0]["revision"] == 2 and _succeeded(studies)
    )
    assert study["instances"] == 28
    assert [(job["revision"], job["state"]) for job in system.ask("jobs", "list")] == [(1, "succeeded")]
    assert pacs.sop_instance_uids() == held
    assert "job:kept" in {event["tag"] for event in system.ask("audit", "list")}


def _check_that_a_restart_loses_nothing(state: Path, phantom: Path, pacs: Orthanc) -> None:
    with oncue_up(state, destinations=[f"ORTHANC@127.0.0.1:{pacs.port}"]) as system:
        (study,) = system.ask("studies", "list")
        assert (study["revision"], study["state"]) == (2, "succeeded")
        held = pacs.sop_instance_uids()
        _send(system, phantom)
        (job, *_) = system.ask("jobs", "list")
        assert run_oncue("jobs", "retry", str(job["id"]), "--state", str(state), variables=QUICK).returncode == 0
        system.wait_for("jobs", "list", until=lambda jobs: jobs[0]["state"] == "succeeded")
        assert pacs.sop_instance_uids() == held
        assert system.ask("audit", "verify")["events"] > 0


def test_a_broken_study_ends_failed_with_its_code_and_loses_nothing(tmp_path: Path, phantom: Path) -> None:
    gap = [path for path in sorted((phantom / "flair").glob("*.dcm")) if path.name != "0010.dcm"]
    with (
        dcmtk_storescp(tmp_path, ae_title="PACS") as peer,
        oncue_up(tmp_path / "state", destinations=[f"PACS@127.0.0.1:{peer.port}"]) as system,
    ):
        _send(system, *gap)
        (job,) = system.wait_for("jobs", "list", until=lambda jobs: bool(jobs) and jobs[0]["state"] == "failed")
        assert job["code"] == "incomplete_volume"
        (shown,) = system.ask("jobs", "show", str(job["id"]))
        assert shown["reason"]
        assert peer.files() == ()
        # The missing image comes late: the next revision is whole, and its results reach DCMTK's storescp.
        _send(system, phantom / "flair" / "0010.dcm")
        system.wait_for("deliveries", "list", until=_delivered)
        received = [pydicom.dcmread(path) for path in peer.files()]
        assert {item.Modality for item in received} == {"SEG", "SR"}
        assert [job["state"] for job in system.ask("jobs", "list")] == ["succeeded", "failed"]


def test_what_arrives_while_no_worker_runs_is_done_after_the_next_start(tmp_path: Path, phantom: Path) -> None:
    with oncue_up(tmp_path / "state", quiet_seconds=600) as system:
        _send(system, phantom)
        system.wait_for("studies", "list", until=lambda found: [study["instances"] for study in found] == [27])
        (study,) = system.ask("studies", "list")
        assert study["state"] == "receiving"
    with oncue_up(tmp_path / "state", quiet_seconds=1) as system:
        (study,) = system.wait_for("studies", "list", until=_succeeded)
        assert study["instances"] == 27


def test_the_same_on_postgresql(tmp_path: Path, phantom: Path, postgresql_server: str) -> None:
    executable("storescu")
    variables = {**QUICK, "ONCUE_STORAGE_DATABASE_URL": postgresql_server}
    with (
        dcmtk_storescp(tmp_path, ae_title="PACS") as peer,
        oncue_up(tmp_path / "state", destinations=[f"PACS@127.0.0.1:{peer.port}"], variables=variables) as system,
    ):
        _send(system, phantom)
        system.wait_for("studies", "list", until=_succeeded)
        system.wait_for("deliveries", "list", until=_delivered)
        assert system.ask("audit", "verify")["events"] > 27
        assert not (system.state / "oncue.sqlite").exists()
