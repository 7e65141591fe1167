"""Results on their way from the record to receivers that keep them: HL7 and FHIR, through the outbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from dicom_gateway.announcing.announcer import Announcer
from dicom_gateway.announcing.senders import Senders
from dicom_gateway.config import GatewaySettings
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind
from storage.database import Database
from storage.domain import Priority
from storage.objects import ObjectStore
from tests.support.announcing import add_channel, analyse, told
from tests.support.fhir_server import failing, fhir_server
from tests.support.hl7_receiver import acknowledging, hl7_receiver
from tests.support.records import NOW, PATIENT, queued_study
from tests.support.scripted_receiver import terms


class Site:
    """A database with one announcer and its real senders, whose clock the test sets."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self.database, self.objects, self.now = database, objects, NOW
        senders = Senders(DestinationTls(GatewaySettings()))
        self.announcer = Announcer(database, objects, terms("gateway-1", lambda: self.now), senders)

    def result(self, priority: Priority) -> None:
        analyse(self.database, self.objects, 1, priority, now=self.now)

    def send(self) -> None:
        self.now += timedelta(hours=2)
        self.announcer.send_due()
        self.announcer.join(30)


@pytest.fixture
def site(database: Database, objects: ObjectStore) -> Iterator[Site]:
    made = Site(database, objects)
    queued_study(database, 1)
    yield made
    made.announcer.close()


def test_an_hl7_receiver_that_errs_once_gets_the_same_message_and_then_the_correction(site: Site) -> None:
    with hl7_receiver(acknowledging("AE"), acknowledging()) as receiver:
        add_channel(site.database, kind=ChannelKind.HL7, address=receiver.address, patient_data=True)
        site.result(Priority.STAT)
        site.send()
        site.send()
        site.result(Priority.ROUTINE)
        site.send()
    first, repeat, correction = receiver.messages
    assert str(first) == str(repeat)
    assert first["PID.F3"] == PATIENT
    assert first["OBX.F11"] == "P"
    assert (str(correction["OBX"][0][11]), str(correction["OBX"][0][5][0][0])) == ("C", "ROUTINE")
    assert [state for _, state, _, _ in told(site.database)] == ["sent", "sent"]


def test_a_fhir_server_that_fails_once_has_one_report_that_is_amended(site: Site) -> None:
    with fhir_server() as server:
        add_channel(site.database, kind=ChannelKind.FHIR, address=server.address)
        server.faults.append(failing(503))
        site.result(Priority.STAT)
        site.send()
        assert not server.resources
        site.send()
        assert [one["status"] for one in server.of_type("DiagnosticReport")] == ["preliminary"]
        site.result(Priority.ROUTINE)
        site.send()
    (report,), (task,) = server.of_type("DiagnosticReport"), server.of_type("Task")
    assert (report["status"], task["priority"]) == ("amended", "routine")
    assert PATIENT not in str(server.resources)
    assert [state for _, state, _, _ in told(site.database)] == ["sent", "sent"]
