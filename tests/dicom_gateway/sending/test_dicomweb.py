"""STOW-RS against Orthanc's DICOMweb plugin, and against services that answer as none should."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from dicom_gateway.config import GatewaySettings
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.dicomweb import store
from dicom_gateway.sending.limits import SendLimits
from dicom_gateway.sending.outcomes import SendOutcome
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.status import PeerAnswer
from dicom_gateway.tls.destination_handshake import DestinationTls
from tests.support.certificates import Authority, Issued
from tests.support.peers import Orthanc, free_port, orthanc
from tests.support.required import missing_peer
from tests.support.senders import ct_image
from tests.support.stow_service import (
    Answer,
    Request,
    Service,
    cutting_off,
    dripping,
    hanging_up,
    other_failures,
    saying,
    storing,
    stow_service,
)

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PATIENT = PeerTimeouts(connect_seconds=20, associate_seconds=20, answer_seconds=20)
HASTY = PeerTimeouts(connect_seconds=2, associate_seconds=2, answer_seconds=0.5)
STORED, TRANSIENT, PERMANENT = PeerAnswer.STORED, PeerAnswer.TRANSIENT, PeerAnswer.PERMANENT


def written(folder: Path, count: int, *, rows: int = 16) -> list[Outgoing]:
    """Write so many CT images and return them ready to send."""
    found = []
    for number in range(count):
        path = folder / f"{number}.dcm"
        pydicom.dcmwrite(path, ct_image(number=number, rows=rows), enforce_file_format=True)
        found.append(read_outgoing(path))
    return [outgoing for outgoing in found if outgoing is not None]


def uids(objects: list[Outgoing]) -> list[str]:
    return [outgoing.sop_instance_uid for outgoing in objects]


def verdicts(outcomes: tuple[SendOutcome, ...]) -> list[PeerAnswer]:
    return [outcome.verdict for outcome in outcomes]


def settings(**more: Any) -> dict[str, Any]:
    """Return Orthanc's settings for its DICOMweb plugin."""
    if not PLUGIN.is_file():
        missing_peer("Orthanc's DICOMweb plugin is not installed (orthanc-dicomweb)")
    return {"Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, **more}


def address(peer: Orthanc, **more: Any) -> Service:
    return Service("127.0.0.1", peer.http_port, **more)


@pytest.mark.peer
def test_orthanc_holds_the_bytes_that_were_sent_and_takes_them_twice(tmp_path: Path) -> None:
    objects = written(tmp_path, 5, rows=128)
    with orthanc(tmp_path, **settings()) as peer:
        first = store(objects, address(peer), timeouts=PATIENT)
        second = store(objects, address(peer), timeouts=PATIENT)
        held = [peer.file(uid) for uid in uids(objects)]
    assert verdicts(first) == verdicts(second) == [STORED] * 5, (first, second)
    assert {outcome.status for outcome in first} == {0}
    assert [outcome.sop_instance_uid for outcome in first] == uids(objects)
    assert held == [outgoing.path.read_bytes() for outgoing in objects]


@pytest.mark.peer
def test_orthanc_gets_the_transfer_syntax_that_is_wanted_of_it(tmp_path: Path) -> None:
    (plain,) = written(tmp_path, 1)
    limits = SendLimits(transfer_syntaxes=(ImplicitVRLittleEndian,))
    with orthanc(tmp_path, **settings()) as peer:
        assert verdicts(store([plain], address(peer), timeouts=PATIENT, limits=limits)) == [STORED]
        held = pydicom.dcmread(pydicom.filebase.DicomBytesIO(peer.file(plain.sop_instance_uid)))
        packed = SendLimits(transfer_syntaxes=(JPEG2000Lossless,))
        (refused,) = store([plain], address(peer), timeouts=PATIENT, limits=packed)
    assert held.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert held == pydicom.dcmread(plain.path)
    assert (refused.verdict, refused.code) == (PERMANENT, "peer_rejected_object")


@pytest.mark.peer
def test_orthanc_takes_users_of_a_credentials_file_and_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    objects = written(tmp_path, 2)
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("oncue:s3cret:pässword\n", encoding="utf-8")
    bad.write_text("oncue:guess")
    good.chmod(0o600)
    bad.chmod(0o644)
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"oncue": "s3cret:pässword"}}
    with orthanc(tmp_path, **settings(**users)) as peer:
        known = store(objects, address(peer), credentials=good, timeouts=PATIENT)
        guessed = store(objects, address(peer), credentials=bad, timeouts=PATIENT)
        unknown = store(objects, address(peer), timeouts=PATIENT)
        absent = store(objects, address(peer), credentials=tmp_path / "absent", timeouts=PATIENT)
    assert verdicts(known) == [STORED] * 2, known
    for outcomes in (guessed, unknown, absent):
        assert {(outcome.verdict, outcome.code) for outcome in outcomes} == {(TRANSIENT, "peer_denied_access")}
    logged = capsys.readouterr().out + caplog.text
    assert logged.count("dicomweb.credentials_exposed") == 1
    assert "s3cret" not in logged
    assert "guess" not in logged


def test_a_service_is_spoken_to_by_https_where_its_certificate_is_trusted(tmp_path: Path) -> None:
    objects = written(tmp_path, 3, rows=1024)
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    trusting = DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate))
    doubting = DestinationTls(GatewaySettings(tls_destinations_ca=stranger.certificate))
    with stow_service(storing(), tls=serving(authority.issue("pacs.example", address="127.0.0.1"))) as service:
        trusted = store(objects, service.address, tls=trusting, timeouts=PATIENT)
        untrusted = store(objects, service.address, tls=doubting, timeouts=PATIENT)
    assert verdicts(trusted) == [STORED] * 3, trusted
    assert service.requests[0].uids == uids(objects)
    assert {(outcome.verdict, outcome.code) for outcome in untrusted} == {(TRANSIENT, "peer_untrusted")}
    assert [outcome.was_offered for outcome in untrusted] == [False] * 3


def test_a_service_that_wants_a_certificate_gets_ours(tmp_path: Path) -> None:
    objects = written(tmp_path, 1)
    authority = Authority(tmp_path)
    own = authority.issue("gateway.example")
    trusting: dict[str, Any] = {"tls_destinations_ca": authority.certificate}
    known = DestinationTls(GatewaySettings(**trusting, tls_certificate=own.certificate, tls_key=own.key))
    unknown = DestinationTls(GatewaySettings(**trusting))
    context = serving(authority.issue("pacs.example", address="127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    with stow_service(storing(), tls=context) as service:
        assert verdicts(store(objects, service.address, tls=known, timeouts=PATIENT)) == [STORED]
        (refused,) = store(objects, service.address, tls=unknown, timeouts=PATIENT)
    assert refused.verdict is TRANSIENT
    # By TLS 1.3 the connection may be gone before the reason is read.
    assert refused.code in {"peer_untrusted", "peer_unreachable"}


def serving(pair: Issued) -> ssl.SSLContext:
    """Return how a service speaks TLS with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def test_each_instance_keeps_its_own_status(tmp_path: Path) -> None:
    objects = written(tmp_path, 8)
    full, broken, duplicate, azure, busy, other, warned, _ = uids(objects)
    reasons = {full: 0xA700, broken: 0xC000, duplicate: 0x0111, azure: 0xB00E, busy: 0xB00F, other: 0xB010}
    with stow_service(storing(reasons, warnings={warned: 0xB000})) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
    assert [(outcome.verdict, outcome.status) for outcome in outcomes] == [
        (TRANSIENT, 0xA700),
        (PERMANENT, 0xC000),
        (STORED, 0x0111),
        (STORED, 0xB00E),
        (TRANSIENT, 0xB00F),
        (PERMANENT, 0xB010),
        (STORED, 0xB000),
        (STORED, 0),
    ]
    assert [outcome.code for outcome in outcomes[:2]] == ["peer_unreachable", "peer_rejected_object"]
    assert "holds an object of this SOP Instance UID already" in outcomes[2].reason
    assert "0xB000" in outcomes[6].reason
    assert outcomes[7].reason == ""
    assert len(service.requests) == 1


def test_a_failure_that_does_not_name_its_instance_is_found_by_sending_each_alone(tmp_path: Path) -> None:
    objects = written(tmp_path, 3)
    bad = objects[1].sop_instance_uid

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        (saying(409, other_failures(0xC000)) if bad in request.uids else storing())(handler, request)

    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
    assert verdicts(outcomes) == [STORED, PERMANENT, STORED]
    assert outcomes[1].status == 0xC000


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (400, PERMANENT, "peer_rejected_object"),
        (413, PERMANENT, "peer_rejected_object"),
        (415, PERMANENT, "peer_rejected_object"),
        (500, TRANSIENT, "peer_unreachable"),
    ],
)
def test_one_object_that_spoils_its_request_fails_alone(
    status: int, verdict: PeerAnswer, code: str, tmp_path: Path
) -> None:
    objects = written(tmp_path, 9)
    bad = objects[4].sop_instance_uid

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        (saying(status, b'{"Message": "no"}') if bad in request.uids else storing())(handler, request)

    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
    assert verdicts(outcomes) == [STORED] * 4 + [verdict] + [STORED] * 4
    assert outcomes[4].code == code
    assert f"HTTP {status}" in outcomes[4].reason
    assert [outcome.sop_instance_uid for outcome in outcomes] == uids(objects)


def test_a_service_that_hangs_up_over_large_requests_gets_small_ones(tmp_path: Path) -> None:
    objects = written(tmp_path, 8)

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        (hanging_up if len(request.uids) > 2 else storing())(handler, request)

    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
    assert verdicts(outcomes) == [STORED] * 8


@pytest.mark.parametrize(
    ("answer", "verdict", "code", "said"),
    [
        (saying(401), TRANSIENT, "peer_denied_access", "credentials"),
        (saying(403), TRANSIENT, "peer_denied_access", "allowed"),
        (saying(404), PERMANENT, "peer_rejected_object", "address"),
        (saying(405), PERMANENT, "peer_rejected_object", "address"),
        (saying(301, Location="http://127.0.0.1:1/"), PERMANENT, "peer_rejected_object", "not followed"),
        (saying(307, Location="http://127.0.0.1:1/"), PERMANENT, "peer_rejected_object", "not followed"),
        (saying(429), TRANSIENT, "peer_unreachable", "HTTP 429"),
        (saying(503), TRANSIENT, "peer_unreachable", "Service Unavailable"),
        (saying(599), TRANSIENT, "peer_unreachable", "HTTP 599"),
        (saying(200, b"<html>Please sign in</html>"), TRANSIENT, "peer_answer_invalid", "not JSON"),
        (saying(200), TRANSIENT, "peer_answer_invalid", "not JSON"),
        (saying(200, b"{}"), TRANSIENT, "peer_answer_invalid", "names no instance"),
        (saying(200, b"[" * 100_000), TRANSIENT, "peer_answer_invalid", "not JSON"),
        (saying(200, b'{"00081199": 7}'), TRANSIENT, "peer_answer_invalid", "DICOM JSON Model"),
        (saying(202, b'{"00081198": {"Value": [{}]}}'), TRANSIENT, "peer_answer_invalid", "no reason"),
        (saying(200, b" " * (5 << 20)), TRANSIENT, "peer_answer_invalid", "more than 4 MiB"),
        (cutting_off, TRANSIENT, "peer_answer_invalid", "broke its answer off"),
        (dripping, TRANSIENT, "peer_unreachable", "in time"),
    ],
)
def test_a_service_that_fails_as_a_whole_is_asked_once(
    answer: Answer, verdict: PeerAnswer, code: str, said: str, tmp_path: Path
) -> None:
    objects = written(tmp_path, 3)
    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=HASTY)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [(verdict, code)] * 3
    assert {outcome.status for outcome in outcomes} == {None}
    assert said in outcomes[0].reason
    assert len(service.requests) == 1


@pytest.mark.parametrize("answer", [saying(500), hanging_up])
def test_a_service_that_fails_over_and_over_is_given_up(answer: Answer, tmp_path: Path) -> None:
    objects = written(tmp_path, 60)
    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [(TRANSIENT, "peer_unreachable")] * 60
    assert len(service.requests) == 10


def test_a_service_that_says_nothing_of_an_instance_has_not_stored_it(tmp_path: Path) -> None:
    objects = written(tmp_path, 2)

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        body = b'{"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["%s"]}}]}}'
        saying(200, body % objects[0].sop_instance_uid.encode())(handler, request)

    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [
        (STORED, ""),
        (TRANSIENT, "peer_answer_invalid"),
    ]


def test_a_service_that_refuses_before_it_has_read_a_large_request_is_understood(tmp_path: Path) -> None:
    objects = written(tmp_path, 1, rows=3000)  # 18 MB
    done = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        saying(401)(handler, request)
        done.wait(20)  # leaves the rest of the request unread, and the connection open

    with stow_service(answer, reads_body=False) as service:
        outcomes = store(objects, service.address, timeouts=PATIENT)
        done.set()
    assert [outcome.code for outcome in outcomes] == ["peer_denied_access"]


def test_a_service_that_says_it_goes_on_gets_the_whole_request(tmp_path: Path) -> None:
    objects = written(tmp_path, 3, rows=1024)
    with stow_service(storing(), says_continue=True) as service:
        assert verdicts(store(objects, service.address, timeouts=PATIENT)) == [STORED] * 3
    assert service.requests[0].uids == uids(objects)


def test_a_service_that_takes_its_time_over_each_object_gets_all(tmp_path: Path) -> None:
    objects = written(tmp_path, 6)

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        time.sleep(0.25 * len(request.uids))  # three times as long as one answer may take
        storing()(handler, request)

    with stow_service(answer) as service:
        assert verdicts(store(objects, service.address, timeouts=HASTY)) == [STORED] * 6
    assert len(service.requests) == 1


def test_a_service_that_never_answers_is_given_up_and_asked_for_nothing_more(tmp_path: Path) -> None:
    objects = written(tmp_path, 4)
    done = threading.Event()

    def answer(_: BaseHTTPRequestHandler, __: Request) -> None:
        done.wait(20)

    with stow_service(answer) as service:
        outcomes = store(objects, service.address, timeouts=HASTY, limits=SendLimits(objects_per_association=2))
        done.set()
    assert {outcome.code for outcome in outcomes} == {"peer_unreachable"}
    assert [outcome.was_offered for outcome in outcomes] == [True, True, False, False]
    assert len(service.requests) == 1


def test_a_service_that_is_down_was_offered_nothing(tmp_path: Path) -> None:
    outcomes = store(written(tmp_path, 2), Service("127.0.0.1", free_port()), timeouts=HASTY)
    assert [(outcome.code, outcome.was_offered) for outcome in outcomes] == [("peer_unreachable", False)] * 2
    (outcome,) = store(written(tmp_path, 1), Service("no-such-host.invalid", 80), timeouts=HASTY)
    assert "cannot be resolved" in outcome.reason


def test_a_request_holds_no_more_than_the_limits_say(tmp_path: Path) -> None:
    objects = written(tmp_path, 7)
    with stow_service(storing()) as service:
        assert verdicts(store(objects, service.address, limits=SendLimits(objects_per_association=3))) == [STORED] * 7
    assert [request.uids for request in service.requests] == [uids(objects[:3]), uids(objects[3:6]), uids(objects[6:])]
    assert {request.path for request in service.requests} == {"/dicom-web/studies"}
    assert service.requests[0].headers["Host"] == f"127.0.0.1:{service.address.port}"


def test_large_objects_travel_in_requests_of_a_bounded_size(tmp_path: Path) -> None:
    objects = written(tmp_path, 4, rows=2300)  # 10.6 MB each
    with stow_service(storing()) as service:
        assert verdicts(store(objects, service.address, timeouts=PATIENT)) == [STORED] * 4
    assert [len(request.uids) for request in service.requests] == [2, 2]


def test_what_is_sent_keeps_the_rate_and_the_wait_is_not_the_services(tmp_path: Path) -> None:
    objects = written(tmp_path, 2, rows=512)  # 0.5 MB each
    started = time.monotonic()
    with stow_service(storing()) as service:
        outcomes = store(objects, service.address, timeouts=HASTY, limits=SendLimits(kilobytes_per_second=500))
    assert verdicts(outcomes) == [STORED] * 2
    assert time.monotonic() - started >= 2 * 512 * 512 * 2 / 500_000 - 0.25


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize("spoil", [Path.unlink, truncate])
def test_an_object_that_becomes_unreadable_fails_alone(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    objects = written(tmp_path, 3)

    def on_outcome(outcome: SendOutcome) -> None:
        # The second one is made ready by now.
        if outcome.sop_instance_uid == objects[0].sop_instance_uid:
            spoil(objects[1].path)

    with stow_service(storing()) as service:
        limits = SendLimits(objects_per_association=1)
        outcomes = store(objects, service.address, timeouts=PATIENT, limits=limits, on_outcome=on_outcome)
    assert [(outcome.verdict, outcome.code) for outcome in outcomes] == [
        (STORED, ""),
        (PERMANENT, "undecodable_object"),
        (STORED, ""),
    ]


def test_a_file_whose_meta_information_is_not_that_of_its_data_set_is_written_anew(tmp_path: Path) -> None:
    image = ct_image()
    pydicom.dcmwrite(tmp_path / "odd.dcm", image, enforce_file_format=True)
    content = (tmp_path / "odd.dcm").read_bytes()
    at = content.index(image.SOPInstanceUID.encode())
    (tmp_path / "odd.dcm").write_bytes(content[: at + 4] + b"9" + content[at + 5 :])
    outgoing = read_outgoing(tmp_path / "odd.dcm")
    assert outgoing is not None
    with stow_service(storing()) as service:
        assert verdicts(store([outgoing], service.address, timeouts=PATIENT)) == [STORED]
    (part,) = service.requests[0].parts
    assert part.file_meta.MediaStorageSOPInstanceUID == part.SOPInstanceUID == image.SOPInstanceUID
    assert part.preamble == bytes(128)


def test_what_stands_in_a_preamble_is_not_sent(tmp_path: Path) -> None:
    (plain,) = written(tmp_path, 1)
    content = plain.path.read_bytes()
    plain.path.write_bytes(b"MZ\x90\x00" * 32 + content[128:])
    with stow_service(storing()) as service:
        assert verdicts(store([plain], service.address)) == [STORED]
    (request,) = service.requests
    assert content in request.body
