"""The priority leaves by every kind of channel, from a running gateway to receivers that fail on the way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.announcing.channel_entries import ChannelWish, new_entry
from storage.announcing import channels
from storage.announcing.channels import ChannelEntry
from storage.announcing.tables import ChannelKind
from storage.database import Database, utc_now
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.announcing import analyse, outbox, told
from tests.support.fhir_server import FhirServer, failing, fhir_server
from tests.support.gateways import running_gateway, until
from tests.support.hl7_receiver import Hl7Receiver, acknowledging, hl7_receiver
from tests.support.mail_receiver import MailReceiver, mail_receiver
from tests.support.records import PATIENT, queued_study
from tests.support.stow_service import StowService, saying, stow_service

MAIL = {"sender": "oncue@hospital.example", "recipients": "desk@hospital.example", "security": "plain"}


@dataclass(frozen=True, slots=True)
class Department:
    """A receiver of each kind."""

    ris: Hl7Receiver
    server: FhirServer
    pager: StowService
    desk: MailReceiver


@pytest.fixture
def department() -> Iterator[Department]:
    with contextlib.ExitStack() as stack:
        yield Department(
            stack.enter_context(hl7_receiver(acknowledging("AE"), acknowledging())),
            stack.enter_context(fhir_server(faults=[failing(503)])),
            stack.enter_context(stow_service(saying(204))),
            stack.enter_context(mail_receiver(MailReceiver())),
        )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("f" * 64)
    file.chmod(0o600)
    return file


def entry_of(kind: ChannelKind, address: str, **words: Any) -> ChannelEntry:
    return new_entry(kind.value, kind, ChannelWish(address=address, **words), known_routes=())


def pager_at(port: int, secret: Path) -> ChannelEntry:
    address = f"http://127.0.0.1:{port}/"
    return entry_of(ChannelKind.WEBHOOK, address, private_network=True, credentials=secret)


def add_all(database: Database, department: Department, secret: Path) -> None:
    mail_server = f"smtp://127.0.0.1:{department.desk.port}"
    entries = (
        entry_of(ChannelKind.HL7, department.ris.address, patient_data=True),
        entry_of(ChannelKind.FHIR, department.server.address, private_network=True),
        pager_at(department.pager.address.port, secret),
        entry_of(ChannelKind.MAIL, mail_server, options=MAIL),
    )
    with database.write() as session:
        for entry in entries:
            channels.add(session, entry, actor="op", now=utc_now())


def is_told(database: Database, number: int) -> bool:
    states = [[one[1] for one in told(database, kind.value)] for kind in ChannelKind]
    return all(found == ["sent"] * number for found in states)


@pytest.mark.slow
def test_each_receiver_gets_the_priority_and_its_change_once(
    sqlite_database: Database, objects: ObjectStore, department: Department, secret: Path
) -> None:
    add_all(sqlite_database, department, secret)
    with running_gateway(sqlite_database, objects, announcing_seconds=5.0):
        job = queued_study(sqlite_database).job_id
        analyse(sqlite_database, objects, job, Priority.STAT, now=utc_now())
        until(lambda: is_told(sqlite_database, 1), "every receiver was told", seconds=60)
        analyse(sqlite_database, objects, job, Priority.ROUTINE, now=utc_now())
        until(lambda: is_told(sqlite_database, 2), "every receiver was told of the change", seconds=60)
    first, again, change = department.ris.messages  # the first one was answered with an error
    assert str(first["MSH.F10"]) == str(again["MSH.F10"]) != str(change["MSH.F10"])
    assert PATIENT in str(again["PID.F3"])
    (report,) = department.server.of_type("DiagnosticReport")
    assert report["status"] == "amended"
    bodies = [json.loads(request.body) for request in department.pager.requests]
    said = [one for body in bodies for one in body["announcements"]]
    assert [(one["priority"], one["previous"]) for one in said] == [("STAT", None), ("ROUTINE", "STAT")]
    keys = [request.headers["Idempotency-Key"] for request in department.pager.requests]
    assert keys == [one.key for one in outbox(sqlite_database, "webhook")]
    assert len(department.desk.mails) == 2
    without_patients = [*map(str, bodies), *(str(mail.content) for mail in department.desk.mails)]
    assert PATIENT not in "".join(without_patients)


@pytest.mark.slow
def test_what_waits_while_a_receiver_is_down_arrives_when_it_is_back(
    sqlite_database: Database, objects: ObjectStore, secret: Path
) -> None:
    with stow_service(saying(200)) as gone:
        down = pager_at(gone.address.port, secret)
    with sqlite_database.write() as session:
        channels.add(session, down, actor="op", now=utc_now())
    with running_gateway(sqlite_database, objects, announcing_seconds=5.0):
        analyse(sqlite_database, objects, queued_study(sqlite_database).job_id, Priority.STAT, now=utc_now())
        until(lambda: outbox(sqlite_database, "webhook")[0].code == "peer_unreachable", "the receiver is down")
        assert not outbox(sqlite_database, "webhook")[0].reached
        with stow_service(saying(200)) as back:
            with sqlite_database.write() as session:
                channels.change(session, pager_at(back.address.port, secret), actor="op", now=utc_now())
            sent = [("first", "sent", "STAT", None)]
            until(lambda: told(sqlite_database, "webhook") == sent, "it was told", seconds=60)
            assert len(back.requests) == 1
