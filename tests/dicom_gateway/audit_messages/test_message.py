"""Every event that the standard has a message for becomes one: valid, coded, and without the patient's name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_gateway.audit_messages.fhir import as_fhir, as_fhir_line
from dicom_gateway.audit_messages.kinds import KINDS
from dicom_gateway.audit_messages.message import AuditMessage, message_of
from dicom_gateway.audit_messages.participants import AuditSource
from dicom_gateway.audit_messages.xml_form import as_xml
from storage.audit import AuditEvent
from tests.support.audit_events import PATIENT_KEY, SOURCE, STUDY, event, message_schema

_TEXTS = st.text(min_size=1, max_size=40)


def made(shown: AuditEvent) -> AuditMessage:
    message = message_of(shown, SOURCE)
    assert message is not None
    return message


def element(shown: AuditEvent) -> ET.Element:
    text = as_xml(made(shown))
    message_schema().validate(text)
    return ET.fromstring(text)  # noqa: S314 - our own


def codes(root: ET.Element, path: str) -> list[str | None]:
    return [found.get("csd-code") for found in root.findall(path)]


def details(item: ET.Element) -> dict[str, str]:
    return {
        found.get("type", ""): base64.b64decode(found.get("value", "")).decode()
        for found in item.findall("ParticipantObjectDetail")
    }


def worth_it(tag: str) -> AuditEvent:
    """Return an event of a tag whose refusal, where it is one, is worth an alert."""
    code = next(iter(sorted(KINDS[tag].codes or ())), None)
    return event(tag, code=code, address="10.0.0.7", destination="PACS@pacs.example:104")


@pytest.mark.parametrize("tag", sorted(KINDS))
def test_each_message_is_valid_as_dicom_and_as_fhir(tag: str) -> None:
    from fhir.resources.R4B.auditevent import AuditEvent as FhirAuditEvent

    element(worth_it(tag))
    FhirAuditEvent.model_validate_json(as_fhir_line(made(worth_it(tag))))


@settings(deadline=None)
@given(tag=st.sampled_from(sorted(KINDS)), names=st.tuples(_TEXTS, _TEXTS, _TEXTS, _TEXTS))
def test_whatever_a_peer_calls_itself_the_message_can_be_read(tag: str, names: tuple[str, str, str, str]) -> None:
    actor, subject, address, origin = names
    code = next(iter(sorted(KINDS[tag].codes or ())), None)
    shown = replace(event(tag, code=code, address=address), actor=actor, subject=subject)
    message = message_of(shown, AuditSource("ONCUE", origin))
    assert message is not None
    text = as_xml(message)
    assert "\n" not in text
    assert ET.fromstring(text).tag == "AuditMessage"  # noqa: S314 - our own
    assert json.loads(as_fhir_line(message)) == as_fhir(message)


def test_a_received_image_goes_from_the_sender_to_us() -> None:
    root = element(event("instance:stored", "instance/1.2.3", digest="ab", bytes=5))
    assert codes(root, "EventIdentification/EventID") == ["110104"]
    assert root.find("EventIdentification") is not None
    assert root.findall("EventIdentification")[0].attrib == {
        "EventActionCode": "C",
        "EventDateTime": "2026-11-28T21:40:00.000123+00:00",
        "EventOutcomeIndicator": "0",
    }
    assert [item.get("AlternativeUserID") for item in root.findall("ActiveParticipant")] == [
        "AETITLES=CT1",
        "AETITLES=ONCUE",
    ]
    assert codes(root, "ActiveParticipant/RoleIDCode") == ["110153", "110152"]
    assert [item.get("UserIsRequestor") for item in root.findall("ActiveParticipant")] == ["true", "false"]
    study, patient = root.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), patient.get("ParticipantObjectID")) == (STUDY, PATIENT_KEY)
    assert [found.get("UID") for found in study.iter("Instance")] == ["1.2.3"]
    assert details(study)["event"] == "7"
    assert details(study)["bytes"] == "5"


@pytest.mark.parametrize("address", ["PACS@10.0.0.9:104", "tls://PACS@10.0.0.9:2762"])
def test_a_sent_result_goes_from_us_to_the_destination_at_its_address(address: str) -> None:
    root = element(event("delivery:sent", "instance/1.2.4", actor="delivery", destination=address))
    source, destination = root.findall("ActiveParticipant")
    assert (source.get("UserID"), destination.get("UserID")) == ("ONCUE", "PACS")
    assert (destination.get("NetworkAccessPointID"), destination.get("NetworkAccessPointTypeCode")) == ("10.0.0.9", "2")
    assert codes(root, "ActiveParticipant/RoleIDCode") == ["110153", "110152"]


@pytest.mark.parametrize(
    ("tag", "indicator"), [("delivery:sent", "0"), ("delivery:postponed", "4"), ("delivery:refused", "8")]
)
def test_what_will_be_tried_again_is_a_minor_failure(tag: str, indicator: str) -> None:
    root = element(event(tag, destination="PACS@pacs:104", code="peer_unreachable"))
    identification = root.findall("EventIdentification")[0]
    assert identification.get("EventOutcomeIndicator") == indicator
    assert identification.findtext("EventOutcomeDescription") == (None if indicator == "0" else "peer_unreachable")


@pytest.mark.parametrize(("tag", "kind"), [("process:started", "110120"), ("process:stopped", "110121")])
def test_a_process_starts_and_stops_as_an_application_with_our_ae_title(tag: str, kind: str) -> None:
    root = element(event(tag, "process/gateway-1", actor="gateway-1", kind="gateway"))
    assert codes(root, "EventIdentification/EventID") == ["110100"]
    assert codes(root, "EventIdentification/EventTypeCode")[0] == kind
    assert codes(root, "ActiveParticipant/RoleIDCode") == ["110150"]
    assert root.findall("ParticipantObjectIdentification") == []


def test_a_refused_peer_is_an_alert_that_names_the_node_and_says_what_it_did() -> None:
    root = element(event("association:refused", "peer/EVIL", actor="EVIL", address="10.6.6.6", code="peer_refused"))
    assert codes(root, "EventIdentification/EventID") == ["110113"]
    assert codes(root, "EventIdentification/EventTypeCode")[0] == "110126"
    assert root.findall("EventIdentification")[0].get("EventOutcomeIndicator") == "8"
    (node,) = root.findall("ParticipantObjectIdentification")
    assert node.get("ParticipantObjectID") == "EVIL"
    assert details(node)["Alert Description"] == "association:refused: peer_refused"


def test_an_image_that_did_not_fit_on_the_disk_is_no_attack() -> None:
    assert message_of(event("instance:refused", code="undecodable_object"), SOURCE) is not None
    assert message_of(event("instance:refused", code="out_of_resources"), SOURCE) is None


def test_reading_a_study_and_reading_the_trail_are_told_apart() -> None:
    study = element(event("study:read", actor="jane"))
    assert codes(study, "EventIdentification/EventID") == ["110103"]
    log = element(event("audit:read", "audit", actor="auditor"))
    assert codes(log, "EventIdentification/EventID") == ["110101"]
    assert log.findtext("ParticipantObjectIdentification/ParticipantObjectName") == "Security Audit Log"


def test_a_search_of_the_trail_is_a_query_with_what_was_asked_for() -> None:
    asked = event("audit:queried", "audit/events", actor="auditor", filters="actor=jane")
    root = element(asked)
    assert codes(root, "EventIdentification/EventID") == ["110112"]
    query = root.findtext("ParticipantObjectIdentification/ParticipantObjectQuery")
    assert query is not None
    assert base64.b64decode(query).decode() == asked.details


def test_an_export_names_who_took_what() -> None:
    root = element(event("export:made", "job/3", actor="jane", what="pictures"))
    assert codes(root, "EventIdentification/EventID") == ["110106"]
    assert [item.get("UserID") for item in root.findall("ActiveParticipant")] == ["jane", "pictures"]
    assert codes(root, "ActiveParticipant/RoleIDCode") == ["110154"]


@pytest.mark.parametrize(
    ("tag", "indicator"), [("announcement:sent", "0"), ("announcement:failed", "4"), ("announcement:refused", "8")]
)
def test_what_a_channel_is_told_of_is_an_export_to_that_channel(tag: str, indicator: str) -> None:
    root = element(event(tag, f"study/{STUDY}", actor="announcing", channel="ris", code="http_503"))
    assert codes(root, "EventIdentification/EventID") == ["110106"]
    assert root.findall("EventIdentification")[0].get("EventOutcomeIndicator") == indicator
    assert [item.get("UserID") for item in root.findall("ActiveParticipant")] == ["ONCUE", "channel/ris"]
    assert codes(root, "ActiveParticipant/RoleIDCode") == ["110153", "110154"]
    study, patient = root.findall("ParticipantObjectIdentification")
    assert (study.get("ParticipantObjectID"), patient.get("ParticipantObjectID")) == (STUDY, PATIENT_KEY)


def test_whoever_first_opens_an_urgent_study_has_accessed_it() -> None:
    root = element(event("study:seen", f"study/{STUDY}", actor="jane", through="program"))
    assert codes(root, "EventIdentification/EventID") == ["110103"]
    assert [item.get("UserID") for item in root.findall("ActiveParticipant")] == ["jane"]


def test_an_escalation_changes_the_record_of_the_procedure() -> None:
    root = element(event("study:escalated", f"study/{STUDY}", actor="announcing", channel="on-call"))
    assert codes(root, "EventIdentification/EventID") == ["110111"]
    assert root.findall("EventIdentification")[0].get("EventActionCode") == "U"
    assert details(root.findall("ParticipantObjectIdentification")[0])["channel"] == "on-call"


def test_events_without_a_message_have_none() -> None:
    assert message_of(event("job:claimed", "job/3"), SOURCE) is None


def test_a_study_without_a_patient_says_so() -> None:
    root = element(replace(event("instance:stored", "instance/1.2.3"), patient_key=None))
    assert root.findall("ParticipantObjectIdentification")[1].get("ParticipantObjectID") == "none"


def test_fhir_names_study_and_patient_in_systems_of_their_own() -> None:
    resource = as_fhir(made(event("delivery:sent", "instance/1.2.4", destination="PACS@pacs:104")))
    study, patient = resource["entity"]
    assert study["what"]["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}
    assert patient["what"]["identifier"]["value"] == PATIENT_KEY
    assert resource["type"]["code"] == "110104"
    assert [agent["requestor"] for agent in resource["agent"]] == [True, False]
    assert {"type": "SOP Instance UID", "valueString": "1.2.4"} in study["detail"]


def test_the_schema_of_the_tests_refuses_what_the_standard_does() -> None:
    text = as_xml(made(event("instance:stored", "instance/1.2.3")))
    for wrong in (
        text.replace("csd-code", "code"),
        text.replace('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        text.replace("+00:00", ""),
        text.replace("<ParticipantObjectName>Study</ParticipantObjectName>", ""),
    ):
        assert not message_schema().is_valid(wrong)
