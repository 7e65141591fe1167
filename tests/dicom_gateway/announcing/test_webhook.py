"""Webhooks, to receivers that take, refuse, fail and lie."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.announcing.announcement import Answer, Channel, Verdict
from dicom_gateway.announcing.options import WebhookOptions
from dicom_gateway.announcing.webhook import WebhookSender, secrets_of
from dicom_gateway.announcing.webhook_body import webhook_body
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import AnnouncementLevel, ChannelKind
from storage.domain import Priority
from storage.errors import ChannelInvalid
from tests.support.announced import GROUP_KEY, PATIENT_WORDS, announced, channel_to
from tests.support.certificates import Authority
from tests.support.stow_service import Request, StowService, cutting_off, dripping, hanging_up, saying, stow_service

DOCUMENT = Path(__file__).parents[3] / "docs" / "triage.md"
SECRET = "0123456789abcdef" * 2
NOW = datetime(2026, 3, 1, 8, 1, tzinfo=UTC)
SENDER = WebhookSender(clock=lambda: NOW)


def channel_at(service: StowService, **changes: Any) -> Channel:
    address = f"http{'s' if service.address.tls else ''}://127.0.0.1:{service.address.port}/hooks/oncue?key=a%20b"
    values = {"secret": SECRET, "options": WebhookOptions(), **changes}
    return channel_to(ChannelKind.WEBHOOK, address, **values)


def asked(answer: Callable[[BaseHTTPRequestHandler, Request], None], **changes: Any) -> tuple[Answer, list[Request]]:
    """Send one announcement to a receiver that answers so; returns the answer and the requests that it read."""
    with stow_service(answer) as service:
        return SENDER.send(channel_at(service, **changes), [announced()], GROUP_KEY), service.requests


def documented_verifier() -> Callable[..., bool]:
    """Return the function that the documentation gives to receivers."""
    [source] = re.findall(r"```python\n(.+?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - our own documentation
    verifier: Callable[..., bool] = names["is_genuine"]
    return verifier


def test_a_group_arrives_as_json_with_what_tells_it_from_others() -> None:
    with stow_service(saying(200)) as service:
        channel = channel_at(service)
        group = [announced(Priority.HIGH, 1), announced(Priority.STAT, 2), announced(None, 3, previous=Priority.STAT)]
        assert SENDER.send(channel, group, GROUP_KEY) == Answer(Verdict.TAKEN)
    [request] = service.requests
    assert request.path == "/hooks/oncue?key=a%20b"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == GROUP_KEY
    assert request.headers["User-Agent"].startswith("oncue/")
    told = json.loads(request.body)
    assert (told["version"], told["kind"], told["channel"], told["key"]) == (
        1,
        "announcements",
        "night-shift",
        GROUP_KEY,
    )
    assert [(one["priority"], one["previous"]) for one in told["announcements"]] == [
        ("STAT", None),
        ("HIGH", None),
        (None, "STAT"),
    ]
    first = told["announcements"][0]
    assert first["arrived_at"] == "2026-03-01T08:00:00.000Z"
    assert first["findings"][0]["code"] == {"meaning": "Lesion", "scheme": "SCT", "value": "52988006"}
    assert first["findings"][0]["volume_ml"] == 12.3456


def test_the_documented_verifier_takes_it_and_nothing_else() -> None:
    is_genuine = documented_verifier()
    _, [request] = asked(saying(204))
    headers, body, now = request.headers, request.body, NOW.timestamp
    assert is_genuine(headers, body, SECRET, now)
    assert not is_genuine(headers, body, SECRET + "x", now)
    assert not is_genuine(headers, body.replace(b"STAT", b"HIGH"), SECRET, now)
    assert not is_genuine({**headers, "Oncue-Timestamp": str(int(now()) + 1)}, body, SECRET, now)
    assert not is_genuine(headers, body, SECRET, lambda: now() + 301)
    assert not is_genuine({}, body, SECRET, now)


def test_while_a_secret_is_replaced_both_hold() -> None:
    is_genuine = documented_verifier()
    _, [request] = asked(saying(204), secret=f"{'new' * 8}\n{SECRET}\n")
    for secret in ("new" * 8, SECRET):
        assert is_genuine(request.headers, request.body, secret, NOW.timestamp)


def test_the_signature_stands_in_the_header_that_the_channel_names() -> None:
    _, [request] = asked(saying(200), options=WebhookOptions(header_name="X-Signature"))
    assert request.headers["X-Signature"].startswith("v1=")
    assert "Oncue-Signature" not in request.headers


def test_the_same_group_is_the_same_body_with_the_same_key() -> None:
    (_, [first]), (_, [again]) = asked(saying(503)), asked(saying(503))
    assert (first.body, first.headers["Idempotency-Key"]) == (again.body, again.headers["Idempotency-Key"])


def test_patient_data_goes_only_where_it_may() -> None:
    _, [without] = asked(saying(200))
    text = without.body.decode()
    assert [word for word in PATIENT_WORDS if word.encode("ascii", "backslashreplace").decode() in text] == []
    assert not {"patient", "accession_number", "study_date"} & json.loads(text)["announcements"][0].keys()
    _, [with_it] = asked(saying(200), patient_data=True)
    told = json.loads(with_it.body)["announcements"][0]
    assert told["patient"] == {
        "birth_date": "1961-07-04",
        "id": "PATIENT-17",
        "issuer": "HOSPITAL",
        "name": "Größe^Zoë",
        "sex": "F",
    }
    assert (told["accession_number"], told["study_date"]) == ("ACC-99", "2026-02-28")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.TAKEN),
        (201, Verdict.TAKEN),
        (202, Verdict.TAKEN),
        (204, Verdict.TAKEN),
        (304, Verdict.REFUSED),
        (400, Verdict.REFUSED),
        (401, Verdict.REFUSED),
        (404, Verdict.REFUSED),
        (408, Verdict.FAILED),
        (410, Verdict.REFUSED),
        (413, Verdict.REFUSED),
        (425, Verdict.FAILED),
        (429, Verdict.FAILED),
        (500, Verdict.FAILED),
        (503, Verdict.FAILED),
        (599, Verdict.FAILED),
    ],
)
def test_the_status_says_what_became_of_it(status: int, verdict: Verdict) -> None:
    answer, _ = asked(saying(status))
    assert answer.verdict is verdict
    assert answer.code == ("" if verdict is Verdict.TAKEN else f"http_{status}")
    assert (str(status) in answer.reason) is (verdict is not Verdict.TAKEN)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_not_followed(status: int) -> None:
    with stow_service(saying(200)) as elsewhere:
        answer, _ = asked(saying(status, Location=f"http://127.0.0.1:{elsewhere.address.port}/"))
    assert (answer.verdict, answer.code) == (Verdict.REFUSED, f"http_{status}")
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("Sun, 01 Mar 2026 08:02:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 07:00:00 GMT", 0.0),
        ("99999999999999999999", 3600.0),
        ("soon", None),
        ("-5", None),
        ("Sun, 01 Mar 99999999999 08:02:30 GMT", None),
    ],
)
def test_a_receiver_may_ask_to_be_left_alone(said: str, seconds: float | None) -> None:
    answer, _ = asked(saying(429, b"", **{"Retry-After": said}))
    assert (answer.verdict, answer.retry_after) == (Verdict.FAILED, seconds)


def garbage(handler: BaseHTTPRequestHandler, _: Request) -> None:
    handler.wfile.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")


def switching(handler: BaseHTTPRequestHandler, _: Request) -> None:
    handler.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")


def endless_header(handler: BaseHTTPRequestHandler, _: Request) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        handler.wfile.write(f"X-{number}: {'x' * 1000}\r\n".encode())


@pytest.mark.parametrize(
    ("answering", "code"),
    [
        (hanging_up, "peer_unreachable"),
        (garbage, "peer_answer_invalid"),
        (switching, "http_101"),
        (endless_header, "peer_answer_invalid"),
    ],
)
def test_what_is_no_answer_is_a_failure(answering: Callable[..., None], code: str) -> None:
    answer, _ = asked(answering)
    assert (answer.verdict, answer.code, answer.reached) == (Verdict.FAILED, code, True)
    assert answer.reason


def silent(handler: BaseHTTPRequestHandler, _: Request) -> None:
    handler.rfile.read(1)  # ends when the sender hangs up


def test_a_receiver_that_says_nothing_is_given_up() -> None:
    answer, _ = asked(silent, seconds=0.5)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_unreachable")


@pytest.mark.parametrize("answering", [dripping, cutting_off])
def test_a_receiver_that_took_it_has_taken_it_whatever_its_body_does(answering: Callable[..., None]) -> None:
    """Sent once more it would be announced twice."""
    answer, _ = asked(answering, seconds=2.0)
    assert answer == Answer(Verdict.TAKEN)


def test_nothing_is_sent_into_the_own_network_where_that_is_not_allowed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls, server = by_tls(authority, address="127.0.0.1")
    with stow_service(saying(200), tls=server) as service:
        channel = channel_at(service, private_network=False)
        answer = WebhookSender(tls, lambda: NOW).send(channel, [announced()], GROUP_KEY)
    assert (answer.verdict, answer.code, answer.reached) == (Verdict.FAILED, "address_in_own_network", False)
    assert service.requests == []


def by_tls(
    authority: Authority, *, name: str = "localhost", address: str | None
) -> tuple[DestinationTls, ssl.SSLContext]:
    issued = authority.issue(name, address=address)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(issued.certificate, issued.key)
    return DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate)), server


def test_a_certificate_that_holds_is_needed(tmp_path: Path) -> None:
    tls, server = by_tls(Authority(tmp_path), address="127.0.0.1")
    with stow_service(saying(200), tls=server) as service:
        taken = WebhookSender(tls, lambda: NOW).send(channel_at(service), [announced()], GROUP_KEY)
        stranger = SENDER.send(channel_at(service), [announced()], GROUP_KEY)
    assert taken == Answer(Verdict.TAKEN)
    assert (stranger.verdict, stranger.code, stranger.reached) == (Verdict.FAILED, "peer_untrusted", False)
    assert len(service.requests) == 1


def test_a_certificate_of_another_name_does_not_match(tmp_path: Path) -> None:
    tls, server = by_tls(Authority(tmp_path), name="other.example", address=None)
    with stow_service(saying(200), tls=server) as service:
        answer = WebhookSender(tls, lambda: NOW).send(channel_at(service), [announced()], GROUP_KEY)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_untrusted")
    assert "names another host" in answer.reason
    assert service.requests == []


def test_in_clear_nothing_leaves_for_other_machines_than_those_of_the_own_network() -> None:
    def sent(**changes: Any) -> Answer:
        channel = channel_to(ChannelKind.WEBHOOK, "http://alerts.invalid/x", WebhookOptions(), secret=SECRET, **changes)
        return SENDER.send(channel, [announced()], GROUP_KEY)

    outside = sent(private_network=False)
    assert (outside.verdict, outside.code) == (Verdict.FAILED, "channel_invalid")
    assert "use https" in outside.reason
    assert "use https" in sent(patient_data=True).reason
    assert sent().code == "peer_unreachable"  # allowed, and there is nobody of this name


@pytest.mark.parametrize("secret", [None, "", "short", "\n".join([SECRET] * 3)])
def test_without_a_secret_that_holds_nothing_is_sent(secret: str | None) -> None:
    answer, requests = asked(saying(200), secret=secret)
    assert (answer.verdict, answer.code, requests) == (Verdict.FAILED, "channel_invalid", [])
    assert "openssl rand" in answer.reason
    with pytest.raises(ChannelInvalid):
        secrets_of(secret)


def test_a_trial_tells_nothing_and_is_signed() -> None:
    with stow_service(saying(200)) as service:
        assert SENDER.probe(channel_at(service)) == Answer(Verdict.TAKEN)
    [request] = service.requests
    told = json.loads(request.body)
    assert (told["kind"], told["announcements"]) == ("trial", [])
    assert documented_verifier()(request.headers, request.body, SECRET, NOW.timestamp)


def test_no_answer_names_the_query_or_the_secret() -> None:
    channel = channel_to(ChannelKind.WEBHOOK, "https://alerts.invalid/x?token=hidden", WebhookOptions(), secret=SECRET)
    answer = SENDER.send(channel, [announced()], GROUP_KEY)
    assert answer.verdict is Verdict.FAILED
    assert "hidden" not in answer.reason
    assert SECRET not in answer.reason


def test_the_documentation_shows_a_body_as_it_is_sent() -> None:
    [shown] = re.findall(r"<!-- webhook-body -->\n```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    channel = channel_to(ChannelKind.WEBHOOK, "https://alerts.example/", WebhookOptions())
    group = [announced(Priority.STAT, 1, level=AnnouncementLevel.CHANGE, previous=Priority.ROUTINE)]
    sent: Mapping[str, Any] = json.loads(webhook_body(channel, group, GROUP_KEY))
    assert json.loads(shown) == sent
