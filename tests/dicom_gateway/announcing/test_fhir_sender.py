"""FHIR to servers that keep to the rules, and to those that do not."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.announcing.announcement import Announcement, Answer, Channel, Verdict
from dicom_gateway.announcing.fhir_sender import FhirSender
from dicom_gateway.announcing.options import FhirOptions
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import AnnouncementLevel, ChannelKind
from storage.domain import Priority
from tests.support.announced_studies import FOUND, announcement, changed, channel
from tests.support.certificates import Authority
from tests.support.fhir_server import (
    Fault,
    FhirServer,
    dripping,
    failing,
    fhir_server,
    issue,
    losing_the_answer,
    passing,
)

_TAKEN = Answer(Verdict.TAKEN)
_BOTH = pytest.mark.parametrize("use_put", [False, True], ids=["transaction", "put"])


def to(server: FhirServer, *, seconds: float = 10.0, secret: str | None = None, **options: Any) -> Channel:
    made = channel(ChannelKind.FHIR, server.address, FhirOptions(**options), seconds=seconds)
    return replace(made, secret=secret)


def send(target: Channel, *what: Announcement) -> Answer:
    return FhirSender().send(target, what or [announcement()], "group")


def answered(*faults: Fault, seconds: float = 10.0, **options: Any) -> Answer:
    """Return what becomes of an announcement without a Task, with a server that answers so."""
    with fhir_server(faults=list(faults)) as server:
        return send(to(server, seconds=seconds, create_task=False, **options))


def said(kind: str, *statuses: str) -> bytes:
    """Return the answer to a transaction, with a status for each entry."""
    entries = [{"response": {"status": status}} for status in statuses]
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": entries}).encode()


def versions(server: FhirServer) -> set[str]:
    return {one["meta"]["versionId"] for one in server.resources.values()}


@_BOTH
def test_a_report_its_observations_and_a_task_are_kept_and_refer_to_one_another(use_put: bool) -> None:
    with fhir_server() as server:
        assert send(to(server, use_put=use_put)) == _TAKEN
    (report,), (task,) = server.of_type("DiagnosticReport"), server.of_type("Task")
    observations = {f"Observation/{one['id']}" for one in server.of_type("Observation")}
    assert {one["reference"] for one in report["result"]} == observations
    assert len(observations) == 2
    assert task["focus"]["reference"] == f"DiagnosticReport/{report['id']}"
    assert task["priority"] == "stat"


@_BOTH
def test_a_repeat_writes_the_same_resources_and_makes_none(use_put: bool) -> None:
    with fhir_server() as server:
        target = to(server, use_put=use_put)
        assert send(target) == send(target) == _TAKEN
    assert len(server.resources) == 4
    assert versions(server) == {"2"}


def test_an_answer_that_is_lost_does_no_harm() -> None:
    with fhir_server() as server:
        target = to(server, create_task=False)
        server.faults.append(losing_the_answer(server))
        assert send(target).verdict is Verdict.FAILED
        assert len(server.resources) == 3
        assert send(target) == _TAKEN
    assert len(server.resources) == 3


@_BOTH
def test_a_change_amends_the_report_and_withdraws_findings_that_are_gone(use_put: bool) -> None:
    with fhir_server() as server:
        target = to(server, use_put=use_put)
        send(target, announcement(findings=(FOUND, FOUND, FOUND)))
        assert send(target, changed(Priority.ROUTINE, Priority.STAT)) == _TAKEN
    (report,) = server.of_type("DiagnosticReport")
    assert report["status"] == "amended"
    assert len(report["result"]) == 2
    assert sorted(one["status"] for one in server.of_type("Observation")) == [
        "amended",
        "amended",
        "entered-in-error",
        "entered-in-error",
    ]


@_BOTH
def test_a_priority_that_was_taken_away_leaves_no_open_task(use_put: bool) -> None:
    with fhir_server() as server:
        target = to(server, use_put=use_put)
        send(target)
        assert send(target, changed(None, Priority.STAT)) == _TAKEN
    assert [one["status"] for one in server.of_type("Task")] == ["cancelled"]
    assert {one["status"] for one in server.of_type("Observation")} == {"entered-in-error"}


@_BOTH
def test_a_task_that_a_reader_took_stays_taken(use_put: bool) -> None:
    with fhir_server() as server:
        target = to(server, use_put=use_put)
        send(target)
        (task,) = server.of_type("Task")
        task.update(status="in-progress", owner={"display": "Dr. B"})
        escalated = announcement(key="9b" * 32, level=AnnouncementLevel.ESCALATION)
        assert send(target, escalated) == _TAKEN
    (task,) = server.of_type("Task")
    assert (task["status"], task["owner"]) == ("in-progress", {"display": "Dr. B"})


@_BOTH
def test_a_task_that_is_taken_in_the_very_moment_is_read_anew(use_put: bool) -> None:
    with fhir_server() as server:
        target = to(server, use_put=use_put)
        send(target)

        def taking(_: object) -> bool:
            (task,) = server.of_type("Task")
            task.update(status="in-progress", meta={"versionId": "7"})
            return False

        # The Task is read, and then written alone or with the rest of the transaction.
        server.faults.extend([passing, taking])
        escalated = announcement(key="9b" * 32, level=AnnouncementLevel.ESCALATION)
        assert send(target, escalated).verdict is Verdict.FAILED
        assert [one["status"] for one in server.of_type("Task")] == ["in-progress"]
        assert send(target, escalated) == _TAKEN
    assert [one["status"] for one in server.of_type("Task")] == ["in-progress"]


def test_without_tasks_none_is_made_or_asked_for() -> None:
    with fhir_server() as server:
        assert send(to(server, create_task=False)) == _TAKEN
    assert [one.method for one in server.asked] == ["POST"]
    assert not server.of_type("Task")


def test_a_transaction_goes_to_the_base_or_where_the_options_say() -> None:
    with fhir_server() as server:
        send(to(server, create_task=False))
        send(to(server, create_task=False, transaction_path="$process"))
    assert [one.path for one in server.asked] == ["/fhir", "/fhir/$process"]


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ("token-123\n", "Bearer token-123"),
        ("user:pass", f"Basic {base64.b64encode(b'user:pass').decode()}"),
        (None, None),
    ],
)
def test_credentials_are_shown_with_every_request(secret: str | None, header: str | None) -> None:
    with fhir_server() as server:
        assert send(to(server, secret=secret)) == _TAKEN
    assert {one.headers.get("Authorization") for one in server.asked} == {header}


def test_a_file_without_credentials_is_told_and_nothing_is_sent() -> None:
    with fhir_server() as server:
        answer = send(to(server, secret="two words\nand more"))  # noqa: S106 - no password, and no token either
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "credentials_invalid")
    assert "words" not in answer.reason
    assert not server.asked


@pytest.mark.parametrize(
    ("status", "verdict", "code"),
    [
        (301, Verdict.REFUSED, "http_redirected"),
        (400, Verdict.REFUSED, "fhir_refused"),
        (401, Verdict.FAILED, "peer_denied_access"),
        (403, Verdict.FAILED, "peer_denied_access"),
        (404, Verdict.REFUSED, "fhir_refused"),
        (409, Verdict.FAILED, "fhir_failed"),
        (412, Verdict.FAILED, "fhir_failed"),
        (422, Verdict.REFUSED, "fhir_refused"),
        (429, Verdict.FAILED, "fhir_failed"),
        (500, Verdict.FAILED, "fhir_failed"),
        (501, Verdict.REFUSED, "fhir_refused"),
        (503, Verdict.FAILED, "fhir_failed"),
    ],
)
@_BOTH
def test_a_status_means_what_http_says(use_put: bool, status: int, verdict: Verdict, code: str) -> None:
    answer = answered(failing(status, Location="http://127.0.0.1:1/"), use_put=use_put)
    assert (answer.verdict, answer.code) == (verdict, code)
    assert str(status) in answer.reason


def test_an_issue_that_may_pass_is_tried_again_whatever_the_status() -> None:
    assert answered(issue(400, "invalid")).verdict is Verdict.REFUSED
    assert answered(issue(400, "lock-error")).verdict is Verdict.FAILED


def test_codes_of_issues_are_repeated_and_words_are_not() -> None:
    reason = answered(issue(422, "business-rule")).reason
    assert "422 (business-rule)" in reason
    assert "Mueller" not in reason
    assert "Mueller" not in answered(issue(422, "Mueller-Anna")).reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{",
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Bundle", "type": "transaction-response"}',
        b'{"resourceType": "Bundle", "type": "searchset", "entry": []}',
        b"[" * 5000,
        b"\xff\xfe",
        said("transaction-response", *["fine"] * 3),
        said("transaction-response", *["201"] * 2),
        said("batch-response", *["201"] * 3),
    ],
)
def test_without_the_answer_of_a_transaction_nothing_counts_as_taken(body: bytes) -> None:
    answer = answered(failing(200, body))
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_answer_invalid")


def test_a_transaction_of_which_a_part_was_refused_is_refused() -> None:
    assert answered(failing(200, said("transaction-response", "201", "200 OK", "201 Created"))) == _TAKEN
    answer = answered(failing(200, said("transaction-response", "201 Created", "422", "201")))
    assert answer.verdict is Verdict.REFUSED


def test_a_server_that_puts_without_a_body_has_taken_it() -> None:
    assert answered(failing(201), failing(204), failing(200), use_put=True) == _TAKEN


def test_a_put_that_fails_ends_the_announcement() -> None:
    with fhir_server(faults=[passing, failing(500)]) as server:
        assert send(to(server, use_put=True, create_task=False)).verdict is Verdict.FAILED
    assert len(server.asked) == 2


@pytest.mark.parametrize("fault", [failing(500), issue(404, "not-supported"), failing(200, b"<html>"), failing(403)])
def test_a_task_that_cannot_be_read_is_not_written_over(fault: Fault) -> None:
    with fhir_server(faults=[fault]) as server:
        assert send(to(server)).verdict is not Verdict.TAKEN
    assert [one.method for one in server.asked] == ["GET"]


@_BOTH
def test_a_task_that_was_deleted_is_made_anew(use_put: bool) -> None:
    with fhir_server() as server:
        target = to(server, use_put=use_put)
        send(target)
        server.resources.clear()
        if use_put:
            server.faults.append(failing(410))
        assert send(target) == _TAKEN
    assert len(server.of_type("Task")) == 1


def test_a_server_that_does_not_end_its_answer_is_given_up() -> None:
    answer = answered(dripping, seconds=0.4)
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_unreachable")


def test_an_answer_without_bounds_is_no_answer() -> None:
    answer = answered(failing(200, b" " * (5 << 20)))
    assert (answer.verdict, answer.code) == (Verdict.FAILED, "peer_answer_invalid")


def test_the_first_failure_ends_a_group_and_a_refusal_does_not() -> None:
    group = [announcement(key=f"{at:064x}", study_instance_uid=f"1.2.{at}") for at in range(1, 4)]
    with fhir_server(faults=[failing(422)]) as server:
        assert send(to(server, create_task=False), *group).verdict is Verdict.REFUSED
    assert len(server.of_type("DiagnosticReport")) == 2
    with fhir_server(faults=[failing(500)]) as server:
        assert send(to(server, create_task=False), *group).verdict is Verdict.FAILED
    assert not server.resources


def test_nobody_listening_is_a_failure_that_may_pass() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    target = channel(ChannelKind.FHIR, f"http://127.0.0.1:{port}/fhir", FhirOptions())
    assert send(target).code == FhirSender().probe(target).code == "peer_unreachable"
    assert not send(target).reached


def test_a_receiver_that_asks_for_a_pause_is_heard() -> None:
    assert answered(failing(503, b"", **{"Retry-After": "120"})).retry_after == 120.0
    assert answered(failing(429, b"", **{"Retry-After": "9" * 40})).retry_after == 3600.0
    assert answered(failing(503, b"", **{"Retry-After": "Sun, 01 Mar 2026 08:02:30 GMT"})).retry_after is not None
    assert answered(failing(503, b"", **{"Retry-After": "soon"})).retry_after is None


@pytest.mark.parametrize(("at", "reached"), [(0, False), (1, True)])
def test_whether_anything_came_to_the_receiver_is_known(at: int, reached: bool) -> None:
    with fhir_server(faults=[passing] * at + [dripping]) as server:
        answer = send(to(server, seconds=0.4))
    assert (answer.verdict, answer.reached) == (Verdict.FAILED, reached)


def test_what_is_no_address_is_told() -> None:
    target = channel(ChannelKind.FHIR, "ris.example", FhirOptions())
    assert send(target).verdict is FhirSender().probe(target).verdict is Verdict.FAILED


def test_a_certificate_that_holds_is_spoken_to_and_another_is_not(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = DestinationTls(GatewaySettings(tls_destinations_ca=authority.certificate))
    found = {}
    for name, address in (("ris", "127.0.0.1"), ("elsewhere.example", None)):
        identity = authority.issue(name, address=address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        with fhir_server(tls=context) as server:
            found[name] = FhirSender(tls).send(to(server, create_task=False), [announcement()], "group")
            asked = len(server.asked)
        assert asked == (1 if address else 0)
    assert found["ris"] == _TAKEN
    assert (found["elsewhere.example"].verdict, found["elsewhere.example"].code) == (Verdict.FAILED, "peer_untrusted")


@pytest.mark.parametrize(
    ("facts", "options", "code"),
    [
        ({}, {}, ""),
        ({"version": "4.3.0"}, {}, ""),
        ({"version": "5.0.0"}, {}, "fhir_version"),
        ({"version": "3.0.2"}, {}, "fhir_version"),
        ({"interactions": ("batch",)}, {}, "fhir_no_transactions"),
        ({"interactions": ("batch",)}, {"use_put": True}, ""),
        ({"interactions": ()}, {}, ""),
    ],
)
def test_a_probe_reads_what_a_server_says_of_itself(facts: Any, options: Any, code: str) -> None:
    with fhir_server(**facts) as server:
        answer = FhirSender().probe(to(server, **options))
    assert (answer.code, answer.verdict) == (code, Verdict.REFUSED if code else Verdict.TAKEN)
    assert [(one.method, one.path) for one in server.asked] == [("GET", "/fhir/metadata")]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (failing(401), "peer_denied_access"),
        (failing(200, b"<html>"), "peer_answer_invalid"),
        (failing(404), "fhir_refused"),
    ],
)
def test_a_probe_of_something_else_says_so(fault: Fault, code: str) -> None:
    with fhir_server(faults=[fault]) as server:
        assert FhirSender().probe(to(server)).code == code
