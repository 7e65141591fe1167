"""STOW-RS as clients meet it: our own, Orthanc's, dicomweb-client, and those that break a rule."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from console.app import create_app
from console.config import ConsoleSettings
from dicom_gateway.sending.dicomweb import store as send
from dicom_gateway.sending.outgoing import read_outgoing
from dicom_gateway.status import PeerAnswer
from storage import audit
from storage.database import Database
from storage.objects import ObjectStore
from tests.support.gateways import until
from tests.support.part10 import part10
from tests.support.peers import orthanc
from tests.support.required import missing_peer
from tests.support.senders import ct_image, data_set_bytes, encoded
from tests.support.served_console import served
from tests.support.storing_console import (
    FAILED,
    OTHER,
    REFERENCED,
    RELATED,
    Served,
    await_stored,
    body,
    reasons,
    storing_console,
    uids,
)
from tests.support.stow_service import Service
from tests.support.tokens import bearer, new_token

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Served]:
    with storing_console(tmp_path_factory.mktemp("state"), sqlite_template) as running:
        yield running


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
