"""Real series of several makers, and the same images in every transfer syntax: each study comes to a coded end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from storage.database import connect
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.support.gateways import ANY_ROUTE
from tests.support.peers import dcmtk_storescp
from tests.support.system import QUICK, System, oncue_up, run_oncue

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

ENDED = {"succeeded", "failed", "not_applicable"}
WHATEVER = {**QUICK, "ONCUE_GATEWAY_ROUTES": str(ANY_ROUTE)}


def _all_ended(studies: list[dict[str, Any]]) -> bool:
    return bool(studies) and all(study["state"] in ENDED for study in studies)


def _accepted(system: System, folder: Path) -> int:
    done = run_oncue("send", str(folder), f"ONCUE@127.0.0.1:{system.port}")
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[0])


def _is_intact(state: Path) -> bool:
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    with database.read() as session:
        digests = [row.digest for row in session.query(InstanceRow)]
    database.dispose()
    for digest in digests:
        objects.verify(digest)
    return bool(digests)


def _all_sent(deliveries: list[dict[str, Any]], *, reports: int) -> bool:
    """Say whether the report of each result has been written by now, and everything is sent."""
    written = sum(item["kind"] == "SR" for item in deliveries)
    return written == reports and all(item["state"] == "sent" for item in deliveries)


def test_every_real_study_ends_with_a_result_or_a_code(tmp_path: Path, real_data: Path) -> None:
    state = tmp_path / "state"
    with (
        dcmtk_storescp(tmp_path, ae_title="PACS") as peer,
        oncue_up(state, destinations=[f"PACS@127.0.0.1:{peer.port}"], variables=WHATEVER) as system,
    ):
        folders = sorted(folder for folder in (real_data / "dicom").iterdir() if folder.is_dir())
        sent = sum(_accepted(system, folder) for folder in folders)
        studies = system.wait_for("studies", "list", until=_all_ended)
        jobs = system.wait_for("jobs", "list", until=lambda jobs: all(job["state"] in ENDED for job in jobs))
        assert 0 < sum(study["instances"] for study in studies) <= sent
        codes = Counter(job["code"] for job in jobs if job["state"] == "failed")
        # Nothing failed by a fault of ours: each code says what is wrong with the study.
        assert set(codes) <= {"no_usable_series", "incomplete_volume", "duplicate_position"}, codes
        # The chest CT and the CTs below the segmentations are whole volumes: they have results.
        results = sum(job["state"] == "succeeded" for job in jobs)
        assert results >= 2
        system.wait_for("deliveries", "list", until=lambda items: _all_sent(items, reports=results))
        assert len(peer.files()) == len(system.ask("deliveries", "list"))
        assert system.ask("audit", "verify")["events"] > sent
    assert _is_intact(state)
