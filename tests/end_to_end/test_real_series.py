"""Real series of several makers, and the same image in many transfer syntaxes, each to a terminal state."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.peers import dcmtk_storescp
from tests.support.system import QUICK, oncue_up, run_oncue

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]
TERMINAL = {"succeeded", "failed"}
ANY_IMAGE = {
    **QUICK,
    "ONCUE_WORKER_ANALYSERS": '{"MR": "tests.support.analysers:build_quick", "CT": "tests.support.analysers:build_quick"}',
}


def test_every_real_study_ends_with_a_result_or_a_coded_reason(tmp_path: Path, real_data: Path) -> None:
    folders = sorted(path for path in (real_data / "dicom").iterdir() if path.is_dir())
    with (
        dcmtk_storescp(tmp_path, ae_title="PACS") as peer,
        oncue_up(
            tmp_path / "state", destinations=[f"PACS@127.0.0.1:{peer.port}"], variables=ANY_IMAGE, quiet_seconds=3
        ) as system,
    ):
        for folder in folders:
            # Exit code 1 where a file was refused, as deflated and private syntaxes are; the others count.
            run_oncue("send", str(folder), f"ONCUE@127.0.0.1:{system.port}")
        studies = system.wait_for(
            "studies", "list", until=lambda found: bool(found) and all(item["state"] in TERMINAL for item in found)
        )
        jobs = system.ask("jobs", "list")
        assert len(studies) >= len(folders) - 1
        assert all(job["code"] for job in jobs if job["state"] == "failed")
        assert not [job for job in jobs if job["code"] in ("internal_error", "worker_lost")], jobs
        analysed = [study for study in studies if study["state"] == "succeeded"]
        assert analysed
        assert all(study["priority"] and study["finding"] for study in analysed)
        deliveries = system.wait_for(
            "deliveries", "list", until=lambda found: bool(found) and all(item["state"] == "sent" for item in found)
        )
        assert {item["kind"] for item in deliveries} >= {"SR"}
        assert len(peer.files()) == len(deliveries)
        assert system.ask("audit", "verify")["events"] > sum(study["instances"] for study in studies)
