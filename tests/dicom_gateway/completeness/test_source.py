"""A gateway and the archive that sends to it: what the archive holds decides when a study is closed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from storage import worklist
from storage.database import Database
from storage.errors import RecordMissing
from storage.objects import ObjectStore
from tests.dicom_gateway.asking.test_qido import PLUGIN
from tests.support.gateways import Running, running_gateway, until
from tests.support.peers import Orthanc, free_port, orthanc, storescu
from tests.support.required import missing_peer
from tests.support.senders import ct_image

pytestmark = pytest.mark.slow


def _fill(peer: Orthanc, folder: Path, *, images: int) -> list[str]:
    """Put images of one study into Orthanc, and return its own names for them."""
    paths = [folder / f"{number}.dcm" for number in range(images)]
    for number, path in enumerate(paths):
        ct_image(number=number).save_as(path, enforce_file_format=True)
    sent = storescu(peer.ae_title, peer.port, *paths)
    assert sent.returncode == 0, sent.stdout
    return sorted(peer.get("/instances"))


def _send(peer: Orthanc, names: list[str]) -> None:
    peer.rest("POST", "/modalities/ONCUE/store", json.dumps(names).encode())


def _waits_for(running: Running) -> str | None:
    with running.database.read() as session, contextlib.suppress(RecordMissing):  # its first image is not on record yet
        return worklist.find(session, 1).waits_for
    return None


@pytest.mark.parametrize("how", ["find", "qido"])
def test_a_study_waits_until_everything_came_that_its_archive_holds(
    sqlite_database: Database, objects: ObjectStore, tmp_path: Path, how: str
) -> None:
    if how == "qido" and not PLUGIN.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    port = free_port()
    plugins = [str(PLUGIN)] if how == "qido" else []
    allowed: dict[str, Any] = {"DicomAlwaysAllowFind": True, "DicomAlwaysAllowStore": True, "Plugins": plugins}
    with orthanc(tmp_path, modalities=[("ONCUE", port)], **allowed) as peer:
        names = _fill(peer, tmp_path, images=3)
        addresses = {
            "find": f"{peer.ae_title}@127.0.0.1:{peer.port}",
            "qido": f"http://127.0.0.1:{peer.http_port}/dicom-web",
        }
        with running_gateway(
            sqlite_database,
            objects,
            port=port,
            quiet_seconds=1,
            query_address=lambda _, title: addresses[how] if title == peer.ae_title else None,
        ) as running:
            _send(peer, names[:2])
            until(lambda: _waits_for(running) == "expected_instances", "the study that waits for its third image")
            assert running.jobs() == []
            _send(peer, names[2:])
            until(lambda: running.jobs() == [(1, 1)], "the job of the study that is whole")
            (closed,) = map(json.loads, running.events("study:closed"))
    assert (closed["expected"], closed["instances"]) == (3, 3)
    assert closed["reason"] in {"expected_instances", "quiet"}
