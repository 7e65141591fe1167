"""Sources that send something else than they were asked for."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import, from a table
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from storage import audit
from storage.database import Database
from storage.fetching.sources import FetchWay
from storage.objects import ObjectStore
from tests.support.fetched import add_source, one
from tests.support.find_scp import series_answer
from tests.support.gateways import running_gateway, until
from tests.support.part10 import part10
from tests.support.senders import ct_image

pytestmark = pytest.mark.slow

_OURS, _FOREIGN = ct_image("asked"), ct_image("foreign")
_STUDY, _SERIES = str(_OURS.StudyInstanceUID), str(_OURS.SeriesInstanceUID)
_EXTENDED = "multipart/related; type*=utf-8''application%2Fdicom; boundary*=utf-8''b"


class _Service(BaseHTTPRequestHandler):
    """A DICOMweb service that holds two images of a study, and sends one of them and one of another study."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        item = {"0020000D": {"vr": "UI", "Value": [_STUDY]}, "00201208": {"vr": "IS", "Value": [2]}}
        if path.endswith("/series"):
            item |= {"0020000E": {"vr": "UI", "Value": [_SERIES]}, "00201209": {"vr": "IS", "Value": [2]}}
        if path.endswith(("/studies", "/series")):
            self._answer("application/dicom+json", json.dumps([item]).encode())
            return
        parts = [b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + part10(one) for one in (_FOREIGN, _OURS)]
        self._answer(_EXTENDED, b"".join(parts) + b"\r\n--b--\r\n")

    def _answer(self, content_type: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def _web_source() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()


def _find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
    found = Dataset()
    found.StudyInstanceUID, found.NumberOfStudyRelatedInstances = _STUDY, 2
    query = event.identifier
    yield 0xFF00, found if query.QueryRetrieveLevel == "STUDY" else series_answer(query, 1, instances=2)


def _get(_: evt.Event) -> Iterator[object]:
    yield 2
    yield 0xFF00, _FOREIGN
    yield 0xFF00, _OURS


@contextlib.contextmanager
def _get_scp() -> Iterator[str]:
    entity = AE("LIAR")
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_C_FIND, _find), (evt.EVT_C_GET, _get)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield f"LIAR@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@pytest.mark.parametrize("way", [FetchWay.GET, FetchWay.WADO])
def test_images_of_another_study_than_was_asked_for_are_not_taken(
    sqlite_database: Database, objects: ObjectStore, way: FetchWay
) -> None:
    with (
        _web_source() if way is FetchWay.WADO else _get_scp() as address,
        running_gateway(sqlite_database, objects) as running,
    ):
        add_source(sqlite_database, address, way)
        until(lambda: len(running.instances()) > 0, "the image that was asked for")
        until(lambda: _refused(sqlite_database) == ["object_mismatch"], "the refusal of the other one")
        assert [found.sop_instance_uid for found in running.instances()] == [str(_OURS.SOPInstanceUID)]
        assert one(sqlite_database).study_instance_uid == _STUDY


def _refused(database: Database) -> list[object]:
    with database.read() as session:
        return [json.loads(event.details)["code"] for event in audit.history(session, tag="instance:refused")]
