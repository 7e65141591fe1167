"""STOW-RS as clients meet it: our own, Orthanc's, dicomweb-client, and those that break their bodies."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from sqlalchemy import select

from console.app import create_app
from console.config import ConsoleSettings
from dicom_gateway.config import GatewaySettings
from dicom_gateway.sending.dicomweb import store as send
from dicom_gateway.sending.outgoing import read_outgoing
from dicom_gateway.status import PeerAnswer
from storage import audit
from storage.database import Database, connect
from storage.models import InstanceRow
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.gateways import half_received, running_gateway, until
from tests.support.part10 import part10
from tests.support.peers import free_port, orthanc
from tests.support.required import missing_peer
from tests.support.senders import ct_image, data_set_bytes, encoded
from tests.support.served_console import served
from tests.support.stow_service import Service
from tests.support.tokens import bearer, new_token

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
FAILED, REFERENCED, OTHER = "00081198", "00081199", "0008119A"
RELATED = 'multipart/related; type="application/dicom"; boundary=b'


@dataclass(frozen=True)
class Served:
    """A console that is served, with a token of its own."""

    port: int
    token: str
    database: Database
    objects: ObjectStore

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web/studies"

    def post(self, content: bytes, path: str = "", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(
            self.url + path,
            content=content,
            headers={"Content-Type": RELATED, **bearer(self.token), **named},
            timeout=60,
        )

    def stored(self, image: Dataset) -> bytes | None:
        """Return the file of an image as it is on record, None where there is none."""
        with self.database.read() as session:
            found = session.scalars(
                select(InstanceRow.digest).where(InstanceRow.sop_instance_uid == str(image.SOPInstanceUID))
            ).all()
        return self.objects.get(found[0]) if found else None


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("state")
    shutil.copy(sqlite_template, state / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    settings = ConsoleSettings.model_validate({"stored_lane": "stat", "stored_megabytes": 4})
    app = create_app(database, objects, settings, gateway=GatewaySettings(maximum_instance_megabytes=1))
    token = new_token(database, "radiology-research-group")
    with served(app) as port:
        yield Served(port, token, database, objects)
    database.dispose()


def body(*parts: bytes, end: bytes = b"\r\n--b--\r\n", media_type: str = "application/dicom") -> bytes:
    head = f"\r\n--b\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + part for part in parts) + end


def uids(answer: httpx.Response, tag: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.json().get(tag, {}).get("Value", [])]


def reasons(answer: httpx.Response, tag: str) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.json().get(tag, {}).get("Value", [])]


def test_all_instances_of_a_request_are_stored_and_said_to_be(console: Served) -> None:
    images = [ct_image("all", number) for number in range(3)]
    answer = console.post(body(*map(part10, images)))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert uids(answer, REFERENCED) == [image.SOPInstanceUID for image in images]
    study = f"{console.url}/{images[0].StudyInstanceUID}"
    assert answer.json()["00081190"]["Value"] == [study]
    first = answer.json()[REFERENCED]["Value"][0]
    assert first["00081190"]["Value"] == [
        f"{study}/series/{images[0].SeriesInstanceUID}/instances/{images[0].SOPInstanceUID}"
    ]
    until(lambda: console.stored(images[2]) is not None, "the last of them")
    assert data_set_bytes(console.stored(images[0]) or b"") == encoded(images[0])
    with console.database.read() as session:
        opened = audit.history(session, tag="association:opened", limit=1)
        stored = audit.history(session, tag="instance:stored", limit=3)
    assert {event.actor for event in (*opened, *stored)} == {"radiology-resear"}


def test_what_became_of_each_is_said_where_some_fail(console: Served) -> None:
    good, cut, deflated = ct_image("some", 1), part10(ct_image("some", 2))[:-100], ct_image("some", 3)
    answer = console.post(
        body(part10(good), cut, part10(deflated, syntax=DeflatedExplicitVRLittleEndian), b"no file", b"")
    )
    assert answer.status_code == 202
    assert uids(answer, REFERENCED) == [good.SOPInstanceUID]
    assert uids(answer, FAILED) == [ct_image("some", 2).SOPInstanceUID]
    assert reasons(answer, FAILED) == [0xC000]
    assert reasons(answer, OTHER) == [0xC122, 0xC000, 0xC000]


def test_instances_of_another_study_than_the_path_names_are_not_stored(console: Served) -> None:
    ours, other = ct_image("ours"), ct_image("other")
    answer = console.post(body(part10(ours), part10(other)), f"/{ours.StudyInstanceUID}")
    assert (answer.status_code, uids(answer, REFERENCED)) == (202, [ours.SOPInstanceUID])
    assert (uids(answer, FAILED), reasons(answer, FAILED)) == ([other.SOPInstanceUID], [0xA900])
    alone = console.post(body(part10(other)), "/1.2.3")
    assert (alone.status_code, reasons(alone, FAILED)) == (409, [0xA900])


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (body(part10()), {"Accept": "application/dicom+xml"}, 406, "not_acceptable"),
        (body(part10()), {"Accept": "application/dicom+json;q=0"}, 406, "not_acceptable"),
        (body(part10()), {"Content_Type": "application/dicom"}, 415, "media_type_unsupported"),
        (
            body(part10()),
            {"Content_Type": 'multipart/related; type="image/png"; boundary=b'},
            415,
            "media_type_unsupported",
        ),
        (
            body(part10()),
            {"Content_Type": 'multipart/related; type="application/dicom"'},
            415,
            "media_type_unsupported",
        ),
        (
            body(part10()),
            {"Content_Type": "multipart/related; type*=utf-8''image%2Fpng; boundary=b"},
            415,
            "media_type_unsupported",
        ),
        (body(part10()), {"Content_Encoding": "gzip"}, 415, "media_type_unsupported"),
        (b"", {}, 400, "body_broken"),
        (b"--b--\r\n", {}, 400, "body_broken"),
        (body(part10(), end=b""), {}, 400, "body_broken"),
        (body(b"x" * (5 << 20)), {}, 413, "body_too_large"),
        (b"--b\r\n\r\n{\r\n--b--", {"Content_Type": RELATED.replace("dicom", "dicom+json")}, 400, "body_invalid"),
        (
            b"--b\r\n\r\n[{}]" + b"\r\n--b\r\nContent-Location: x\r\n\r\n1" * 2 + b"\r\n--b--",
            {"Content_Type": RELATED.replace("dicom", "dicom+json")},
            400,
            "body_broken",
        ),
        (b"--b\r\n\r\n[3]\r\n--b--", {"Content_Type": RELATED.replace("dicom", "dicom+json")}, 400, "body_invalid"),
    ],
)
def test_a_request_that_is_none_is_refused_as_a_whole(
    console: Served, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = console.post(content, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_the_status_says_what_all_failures_have_in_common(console: Served) -> None:
    large = console.post(body(part10(ct_image(rows=1024))))
    assert (large.status_code, reasons(large, FAILED)) == (413, [0xA700])
    picture = console.post(body(b"x", media_type="image/png"))
    assert (picture.status_code, reasons(picture, OTHER)) == (415, [0xC000])
    coded = b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(part10()) + b"\r\n--b--"
    assert console.post(coded).status_code == 415


@pytest.mark.parametrize("rest", [b"", b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + part10()[:500]])
def test_what_was_whole_stays_stored_where_the_body_ends_too_early(console: Served, rest: bytes) -> None:
    image = ct_image("early", len(rest))
    end = rest or b"\r\n--b"
    answer = console.post(body(part10(image), end=end))
    assert (answer.status_code, uids(answer, REFERENCED)) == (202, [image.SOPInstanceUID])
    assert len(answer.json().get(OTHER, answer.json().get(FAILED))["Value"]) == 1
    assert "the body ends" in answer.headers["warning"]


def test_a_chunked_body_is_cut_at_its_bound_and_what_came_before_stays_stored(console: Served) -> None:
    image = ct_image("bound")

    def pieces() -> Iterator[bytes]:
        yield body(part10(image), end=b"")
        for _ in range(80):
            yield body(b"x" * (1 << 16), end=b"")

    answer = httpx.post(
        console.url, content=pieces(), headers={"Content-Type": RELATED, **bearer(console.token)}, timeout=60
    )
    assert (answer.status_code, uids(answer, REFERENCED)) == (202, [image.SOPInstanceUID])
    assert "larger than 4 MiB" in answer.headers["warning"]


def test_a_client_that_hangs_up_leaves_what_was_whole_and_the_server_at_work(console: Served) -> None:
    image = ct_image("hung-up")
    with begun(console, body(part10(image), part10()[:300], end=b"")):
        until(lambda: console.stored(image) is not None, "the image that was whole")
    assert console.post(body(part10(ct_image("hung-up", 2)))).status_code == 200


def test_metadata_with_bulk_data_becomes_an_object(console: Served) -> None:
    image = ct_image("metadata", rows=64, value=7)
    metadata = json.loads(image.to_json(bulk_data_threshold=64, bulk_data_element_handler=lambda _: "bulk/1"))
    metadata["7FE00010"]["vr"] = "OW"
    metadata["00020010"] = {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    content = b"".join(
        [
            b"--b\r\nContent-Type: application/dicom+json\r\n\r\n",
            json.dumps([metadata], ensure_ascii=False).encode(),
            b"\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Location: bulk/1\r\n\r\n",
            image.PixelData,
            b"\r\n--b--\r\n",
        ]
    )
    related = 'multipart/related; type="application/dicom+json"; boundary=b'
    answer = console.post(content, Content_Type=related)
    assert (answer.status_code, uids(answer, REFERENCED)) == (200, [image.SOPInstanceUID])
    until(lambda: console.stored(image) is not None, "the image")
    stored = pydicom.dcmread(pydicom.filebase.DicomBytesIO(console.stored(image) or b""))
    assert (stored.PixelData, str(stored.PatientName)) == (image.PixelData, "Größe^Zoë")
    missing = console.post(content.replace(b"bulk/1\r\n\r\n", b"bulk/2\r\n\r\n"), Content_Type=related)
    assert (missing.status_code, uids(missing, FAILED)) == (409, [image.SOPInstanceUID])


@pytest.mark.slow
def test_no_value_of_metadata_reaches_the_log(tmp_path: Path, sqlite_template: Path) -> None:
    found = ct_image("quoted")
    del found.PixelData
    content = found.to_json_dict()
    for tag, vr in (("00100040", "CS"), ("00101010", "AS")):
        content[tag] = {"vr": vr, "Value": [f"secret-of-nobody-{vr}"]}
    with console_process(tmp_path, sqlite_template) as (process, server):
        answer = server.post(
            body(json.dumps([content]).encode(), media_type="application/dicom+json"),
            Content_Type=RELATED.replace("dicom", "dicom+json"),
        )
        assert answer.status_code == 200
        process.terminate()
        process.wait(60)
    said = (tmp_path / "console.log").read_bytes()
    assert b"Application startup complete" in said
    assert b"secret" not in said


def test_our_own_sender_stores_here(console: Served, tmp_path: Path) -> None:
    credentials = tmp_path / "token"
    credentials.write_text(console.token)
    credentials.chmod(0o600)
    objects = []
    for number in range(3):
        (tmp_path / f"{number}.dcm").write_bytes(part10(ct_image("own", number)))
        objects.append(read_outgoing(tmp_path / f"{number}.dcm"))
    outcomes = send([one for one in objects if one], Service("127.0.0.1", console.port), credentials=credentials)
    assert [outcome.verdict for outcome in outcomes] == [PeerAnswer.STORED] * 3, outcomes
    (denied, *_) = send([one for one in objects if one], Service("127.0.0.1", console.port))
    assert (denied.verdict, denied.code) == (PeerAnswer.TRANSIENT, "peer_denied_access")


@pytest.mark.peer
def test_dicomweb_client_stores_here(console: Served) -> None:
    api = pytest.importorskip("dicomweb_client.api", reason="dicomweb-client is not installed")
    images = [pydicom.dcmread(io.BytesIO(part10(ct_image("client", number)))) for number in range(3)]
    client = api.DICOMwebClient(f"http://127.0.0.1:{console.port}/dicom-web", headers=bearer(console.token))
    for said in (
        client.store_instances(images),
        client.store_instances(images, study_instance_uid=images[0].StudyInstanceUID),
    ):
        stored = [item.ReferencedSOPInstanceUID for item in said.ReferencedSOPSequence]
        assert stored == [image.SOPInstanceUID for image in images]
    await_stored(console, images[2])


@pytest.mark.peer
def test_orthanc_stores_here(console: Served, tmp_path: Path) -> None:
    image = ct_image("orthanc")
    server = {
        "Url": f"http://127.0.0.1:{console.port}/dicom-web/",
        "HttpHeaders": bearer(console.token),
    }
    if not _PLUGIN.is_file():
        missing_peer("Orthanc's DICOMweb plugin is not installed (orthanc-dicomweb)")
    settings = {"Enable": True, "Root": "/dicom-web/", "Servers": {"oncue": server}}
    with orthanc(tmp_path, Plugins=[str(_PLUGIN)], DicomWeb=settings) as peer:
        held = json.loads(peer.rest("POST", "/instances", part10(image)))
        asked = json.dumps({"Resources": [held["ParentStudy"]], "Synchronous": True}).encode()
        peer.rest("POST", "/dicom-web/servers/oncue/stow", asked)
    until(lambda: console.stored(image) is not None, "the image of Orthanc")


def test_nothing_is_taken_where_the_disk_has_no_room(sqlite_database: Database, tmp_path: Path) -> None:
    app = create_app(sqlite_database, ObjectStore(tmp_path, reserve_bytes=1 << 60), ConsoleSettings())
    token = new_token(sqlite_database)
    with served(app) as port:
        answer = Served(port, token, sqlite_database, ObjectStore(tmp_path)).post(body(part10()))
    assert (answer.status_code, reasons(answer, FAILED)) == (503, [0xA700])
    assert int(answer.headers["retry-after"]) > 0


def await_stored(server: Served, image: Dataset) -> None:
    until(lambda: server.stored(image) is not None, "an image on record")


@contextlib.contextmanager
def begun(server: Served, content: bytes) -> Iterator[socket.socket]:
    """Begin a request and send less of its body than it says."""
    head = (
        f"POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Type: {RELATED}\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(content) + 5000}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head.encode() + content)
        yield connection


def test_whoever_falls_silent_is_answered_and_what_came_before_stays_stored(
    sqlite_database: Database, tmp_path: Path
) -> None:
    objects, image = ObjectStore(tmp_path), ct_image("silent")
    app = create_app(sqlite_database, objects, ConsoleSettings(), gateway=GatewaySettings(network_seconds=0.5))
    token = new_token(sqlite_database)
    with served(app) as port:
        server = Served(port, token, sqlite_database, objects)
        with begun(server, body(part10(image), part10()[:300], end=b"")) as connection:
            answered = connection.recv(1 << 16)
        with begun(server, b"--b\r\n") as connection:
            late = connection.recv(1 << 16)
    assert answered.startswith(b"HTTP/1.1 202 ")
    assert late.startswith(b"HTTP/1.1 408 ")
    assert server.stored(image) is not None


def test_whoever_sends_a_byte_now_and_then_keeps_no_place(sqlite_database: Database, tmp_path: Path) -> None:
    app = create_app(
        sqlite_database, ObjectStore(tmp_path), ConsoleSettings(), gateway=GatewaySettings(network_seconds=0.5)
    )
    token, answered = new_token(sqlite_database), b""
    with served(app) as port, begun(Served(port, token, sqlite_database, ObjectStore(tmp_path)), b"") as connection:
        connection.settimeout(0.1)
        for _ in range(100):
            connection.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                answered = connection.recv(1 << 16)
                break
    assert answered.startswith(b"HTTP/1.1 408 ")


def test_more_requests_than_are_carried_out_at_once_are_told_to_come_again(console: Served) -> None:
    image = ct_image("busy")
    with contextlib.ExitStack() as stack:
        for number in range(8):
            first = ct_image("busy", 10 + number)
            stack.enter_context(begun(console, body(part10(first), end=b"\r\n--b")))
            await_stored(console, first)
        refused = console.post(body(part10(image)))
    assert (refused.status_code, refused.json()["code"]) == (503, "too_busy")
    assert int(refused.headers["retry-after"]) > 0
    until(lambda: console.post(body(part10(image))).status_code == 200, "room for a request")


@contextlib.contextmanager
def console_process(state: Path, template: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], Served]]:
    """Run `oncue console` over a state folder of its own until the block ends."""
    shutil.copy(template, state / "oncue.sqlite")
    database, objects = connect(f"sqlite:///{state / 'oncue.sqlite'}"), ObjectStore(state / "objects")
    token, port = new_token(database), free_port()
    command = [sys.executable, "-c", "from console.cli import main; main()", "console", "--state", str(state)]
    environment = {**os.environ, "ONCUE_CONSOLE_PORT": str(port), **variables}
    with (
        (state / "console.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=log) as process,
    ):
        try:
            until(lambda: _answers(port), "the console")
            yield process, Served(port, token, database, objects)
        finally:
            process.kill()
    database.dispose()


@pytest.mark.slow
def test_a_console_that_is_told_to_end_does_not_wait_for_a_sender_that_is_silent(
    tmp_path: Path, sqlite_template: Path
) -> None:
    image = ct_image("ending")
    with console_process(tmp_path, sqlite_template, ONCUE_GATEWAY_DRAIN_SECONDS="0.5") as (process, server):
        with begun(server, body(part10(image), end=b"\r\n--b")) as connection:
            await_stored(server, image)
            process.terminate()
            answered = connection.recv(1 << 16)
        process.wait(20)
    assert answered.startswith(b"HTTP/1.1 202 ")
    assert b"the server ends" in answered


@pytest.mark.slow
def test_every_instance_that_was_said_to_be_stored_is_there_after_a_kill(tmp_path: Path, sqlite_template: Path) -> None:
    reported: list[str] = []
    with console_process(tmp_path, sqlite_template) as (process, server):
        for number in range(20):
            images = [ct_image("kill", 3 * number + one) for one in range(3)]
            reported += uids(server.post(body(*map(part10, images))), REFERENCED)
        process.kill()
        process.wait()
        assert len(reported) == 60
        with running_gateway(server.database, server.objects):
            until(lambda: half_received(server.objects) == [], "the registration of what the dead console left")
        with server.database.read() as session:
            found = set(session.scalars(select(InstanceRow.sop_instance_uid)))
    assert set(reported) <= found


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code > 0
    except httpx.TransportError:
        return False
