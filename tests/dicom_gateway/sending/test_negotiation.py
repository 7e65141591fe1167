"""What real peers say that they take."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.chosen_forms import SOP_CLASSES
from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination, WebAddress, parse_address
from dicom_gateway.errors import PeerDeniedAccess, PeerRejectedObject, PeerUnreachable, PeerUntrusted
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.negotiation import Question
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.domain import ObjectKind
from tests.support import storescp_profiles as profiles
from tests.support.certificates import Authority
from tests.support.peers import dcmtk_storescp, free_port, orthanc
from tests.support.required import missing_peer
from tests.support.storescp_profiles import EXPLICIT, IMPLICIT

pytestmark = pytest.mark.slow

SHORT = PeerTimeouts(connect_seconds=2.0, associate_seconds=2.0, answer_seconds=2.0)
QUESTION = Question("ONCUE", SHORT)
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.mark.peer
def test_orthanc_takes_every_form_of_which_it_knows_the_sop_class(tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer:
        taken = QUESTION.ask(Destination(peer.ae_title, "127.0.0.1", peer.port))
        # Label maps came into the standard in 2024: an Orthanc before that does not take them.
        known = [form for form in SOP_CLASSES if form is not ObjectKind.LABELMAP]
        assert {taken[SOP_CLASSES[form]] for form in known} == {(EXPLICIT, IMPLICIT)}
        assert peer.sop_instance_uids() == ()


@pytest.mark.peer
def test_a_peer_that_refuses_seg_and_one_that_wants_implicit_vr_say_so(tmp_path: Path) -> None:
    odd = {
        SOP_CLASSES[ObjectKind.SR]: (IMPLICIT,),
        SOP_CLASSES[ObjectKind.SC]: (EXPLICIT, IMPLICIT),
        SOP_CLASSES[ObjectKind.LABELMAP]: (EXPLICIT,),
    }
    with dcmtk_storescp(tmp_path, *profiles.with_syntaxes(tmp_path, odd)) as peer:
        taken = QUESTION.ask(Destination(peer.ae_title, "127.0.0.1", peer.port))
        assert {uid: syntaxes for uid, syntaxes in taken.items() if syntaxes} == odd
        assert taken[SOP_CLASSES[ObjectKind.SEG]] == ()
        assert peer.files() == ()


@pytest.mark.peer
def test_a_peer_that_knows_us_not_is_told_apart_from_one_that_is_not_there(tmp_path: Path) -> None:
    with orthanc(tmp_path) as peer, pytest.raises(PeerRejectedObject):
        QUESTION.ask(Destination("OTHER", "127.0.0.1", peer.port))
    with pytest.raises(PeerUnreachable):
        QUESTION.ask(Destination("PACS", "127.0.0.1", free_port()))


def test_a_peer_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PeerUnreachable):
            QUESTION.ask(Destination("HANGS", "127.0.0.1", port))
        with pytest.raises(PeerUnreachable):
            QUESTION.ask(WebAddress("127.0.0.1", port, "/dicom-web", tls=False))


@pytest.mark.peer
def test_a_dicomweb_service_is_found_and_stores_nothing(tmp_path: Path) -> None:
    if not DICOMWEB.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    with orthanc(tmp_path, Plugins=[str(DICOMWEB)], DicomWeb={"Enable": True, "Root": "/dicom-web/"}) as peer:
        assert QUESTION.ask(parse_address(f"http://127.0.0.1:{peer.http_port}/dicom-web")) == {}
        assert peer.sop_instance_uids() == ()
        with pytest.raises(PeerRejectedObject, match="check the path"):
            QUESTION.ask(parse_address(f"http://127.0.0.1:{peer.http_port}/elsewhere"))


@pytest.mark.peer
def test_a_service_that_wants_credentials_is_shown_those_of_the_file(tmp_path: Path) -> None:
    if not DICOMWEB.exists():
        missing_peer("Orthanc's DICOMweb plugin is not installed")
    file = tmp_path / "credentials"
    file.write_text("oncue:secret\n")
    file.chmod(0o600)
    settings = {"AuthenticationEnabled": True, "RegisteredUsers": {"oncue": "secret"}}
    with _service_with_users(tmp_path, settings) as address:
        with pytest.raises(PeerDeniedAccess, match="--credentials"):
            QUESTION.ask(address)
        assert QUESTION.ask(address, credentials=file) == {}


@pytest.mark.parametrize(("status", "error"), [(503, PeerUnreachable), (405, PeerRejectedObject)])
def test_what_a_proxy_answers_in_place_of_a_service_is_no_service(status: int, error: type[Exception]) -> None:
    with _answering(status) as port, pytest.raises(error, match=str(status)):
        QUESTION.ask(WebAddress("127.0.0.1", port, "/dicom-web", tls=False))


def test_a_service_is_trusted_by_the_authority_of_destinations_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pacs = authority.issue("pacs.example", address="127.0.0.1")
    with _answering(400, certificate=(pacs.certificate, pacs.key)) as port:
        address = WebAddress("127.0.0.1", port, "/dicom-web")
        trusting = DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate))
        assert Question("ONCUE", SHORT, trusting).ask(address) == {}
        with pytest.raises(PeerUntrusted):
            QUESTION.ask(address)


@contextmanager
def _service_with_users(folder: Path, settings: dict[str, Any]) -> Iterator[WebAddress]:
    web = {"Enable": True, "Root": "/dicom-web/"}
    with orthanc(folder, Plugins=[str(DICOMWEB)], DicomWeb=web, **settings) as peer:
        yield WebAddress("127.0.0.1", peer.http_port, "/dicom-web", tls=False)


@contextmanager
def _answering(status: int, *, certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    """Run an HTTP server that answers every request with one status."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
