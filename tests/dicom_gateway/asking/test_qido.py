"""Asking sources by QIDO-RS: Orthanc's DICOMweb plugin, and services that lie."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.asking.counts import SeriesCount
from dicom_gateway.asking.qido import count_by_qido
from dicom_gateway.asking.web_client import WebClient
from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import WebAddress
from dicom_gateway.errors import (
    PeerUntrusted,
    SourceAnswerInvalid,
    SourceRefused,
    SourceSilent,
    SourceTooSlow,
    StudyUnknownToSource,
)
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.uids import deterministic_uid
from tests.support.certificates import Authority, Issued
from tests.support.peers import free_port, orthanc, storescu
from tests.support.required import missing_peer
from tests.support.senders import ct_image

STUDY = deterministic_uid("test-study", "study")
SERIES = deterministic_uid("test-series", "study")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def service(answer: Answer, identity: Issued | None = None) -> Iterator[WebClient]:
    """Run an HTTP server on loopback that answers each GET as a test wants, by TLS where it has a certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if identity is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(identity.certificate, identity.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield WebClient(WebAddress("127.0.0.1", server.server_port, "/dicom-web", tls=identity is not None))
    finally:
        server.shutdown()
        server.server_close()


def saying(content: object, *, status: int = 200) -> Answer:
    """Return what answers with an object as JSON, or with bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def series(uid: str, *, instances: object, study: str = STUDY) -> dict[str, Any]:
    """Return a series in the DICOM JSON Model."""
    return {
        "0020000D": {"vr": "UI", "Value": [study]},
        "0020000E": {"vr": "UI", "Value": [uid]},
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00201209": {"vr": "IS", "Value": [instances]},
    }


@pytest.mark.slow
def test_orthanc_says_how_many_images_it_holds(tmp_path: Path) -> None:
    if not PLUGIN.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    with orthanc(tmp_path, DicomAlwaysAllowStore=True, Plugins=[str(PLUGIN)]) as peer:
        asked = WebClient(WebAddress("127.0.0.1", peer.http_port, "/dicom-web", tls=False))
        with pytest.raises(StudyUnknownToSource):
            count_by_qido(asked, STUDY, seconds=20)
        paths = [tmp_path / f"{number}.dcm" for number in range(3)]
        for number, path in enumerate(paths):
            ct_image(number=number).save_as(path, enforce_file_format=True)
        assert storescu(peer.ae_title, peer.port, *paths).returncode == 0
        assert count_by_qido(asked, STUDY, seconds=20) == {SERIES: SeriesCount("CT", 3)}


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b"[" * 100_000,
        {"a": 1},
        [1, 2],
        [series("1.2", instances="many")],
        [series("1.2", instances=-1)],
        [series("1.2", instances=1e300)],
        [series("1.2", instances=4, study="1.9")],
        [series("", instances=4)],
    ],
)
def test_what_is_no_count_is_no_answer(content: object) -> None:
    with service(saying(content)) as asked, pytest.raises(SourceAnswerInvalid):
        count_by_qido(asked, STUDY, seconds=10)


def test_a_service_that_leaves_numbers_out_has_its_instances_counted() -> None:
    without = series("1.2", instances=0)
    del without["00201209"]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        saying([without] * 3 if "/instances" in handler.path else [without])(handler)

    with service(answer) as asked:
        assert count_by_qido(asked, STUDY, seconds=10) == {"1.2": SeriesCount("CT", 3)}


def test_a_service_is_held_against_the_authorities_of_destinations(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with service(saying([series("1.2", instances=3)]), authority.issue("pacs.example", address="127.0.0.1")) as asked:
        settings = GatewaySettings(tls_destinations_ca=authority.certificate)
        known = replace(asked, tls=DestinationTls(settings))
        assert count_by_qido(known, STUDY, seconds=10) == {"1.2": SeriesCount("CT", 3)}
        with pytest.raises(PeerUntrusted):
            count_by_qido(asked, STUDY, seconds=10)


def test_a_redirection_is_not_followed() -> None:
    with service(saying(b"", status=302)) as asked, pytest.raises(SourceRefused):
        count_by_qido(asked, STUDY, seconds=10)


def test_a_service_that_drips_its_answer_is_cut_when_its_time_is_over() -> None:
    ended = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Drip: ")
        while not ended.wait(0.1):
            handler.wfile.write(b"a")
            handler.wfile.flush()

    with service(answer) as asked:
        with pytest.raises(SourceTooSlow):
            count_by_qido(asked, STUDY, seconds=1)
        ended.set()


def test_an_answer_without_an_end_is_cut() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while True:
            handler.wfile.write(b" " * (1 << 20))

    with service(answer) as asked, pytest.raises(SourceAnswerInvalid, match="MiB"):
        count_by_qido(asked, STUDY, seconds=30)


def test_a_service_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(SourceSilent):
        count_by_qido(WebClient(WebAddress("127.0.0.1", free_port(), "/dicom-web", tls=False)), STUDY, seconds=5)
