"""What somebody says of a channel, checked before it becomes an entry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_gateway.announcing.channel_entries import ChannelWish, changed, new_entry, split_option, wished
from dicom_gateway.announcing.options import Hl7Options, MailOptions, MailSecurity, kept_options
from storage.announcing.channels import ChannelEntry
from storage.announcing.tables import ChannelKind
from storage.domain import Priority
from storage.errors import ChannelInvalid, ChannelNeedsPatientData, FileUnusable

ROUTES = ("head-mr", "chest-ct")
MAIL = {"sender": "oncue@hospital.example", "recipients": "desk@hospital.example"}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("f" * 64 + "\n")
    file.chmod(0o600)
    return file


def entry(kind: ChannelKind, address: str, **words: Any) -> ChannelEntry:
    return new_entry("desk", kind, ChannelWish(address=address, **words), known_routes=ROUTES)


def test_a_webhook_is_told_of_stat_and_high_without_patient_data(secret: Path) -> None:
    made = entry(ChannelKind.WEBHOOK, "https://alerts.example/oncue?token=1", credentials=secret)
    assert made.priorities == (Priority.STAT, Priority.HIGH)
    assert (made.patient_data, made.routes, made.escalation_minutes, made.per_hour) == (False, None, None, None)
    assert made.shown_address == "https://alerts.example/oncue"


def test_words_are_read_as_people_write_them(secret: Path) -> None:
    made = entry(
        ChannelKind.WEBHOOK, " https://alerts.example/ ", credentials=secret, priorities="high, stat", routes="chest-ct"
    )
    assert (made.priorities, made.routes) == ((Priority.STAT, Priority.HIGH), ("chest-ct",))


@pytest.mark.parametrize(
    ("security", "address"),
    [("starttls", "smtp://mail.example:587"), ("tls", "smtp://mail.example:465"), ("plain", "smtp://mail.example:25")],
)
def test_a_mail_server_has_the_usual_port_of_its_security(security: str, address: str) -> None:
    made = entry(ChannelKind.MAIL, "smtp://mail.example", options={**MAIL, "security": security})
    assert made.address == address
    options = kept_options(ChannelKind.MAIL, made.options)
    assert isinstance(options, MailOptions)
    assert (options.security, options.recipients) == (MailSecurity(security), ("desk@hospital.example",))


def test_an_hl7_receiver_cannot_go_without_patient_data() -> None:
    with pytest.raises(ChannelNeedsPatientData, match="--patient-data"):
        entry(ChannelKind.HL7, "mllp://10.20.0.9:2575")
    made = entry(ChannelKind.HL7, "mllp://10.20.0.9:2575", patient_data=True, options={"order_updates": "yes"})
    options = kept_options(ChannelKind.HL7, made.options)
    assert isinstance(options, Hl7Options)
    assert (options.order_updates, options.version) == (True, "2.5.1")


@pytest.mark.parametrize(
    ("kind", "address", "words", "said"),
    [
        (ChannelKind.WEBHOOK, "https://a.example/", {}, "signed"),
        (ChannelKind.WEBHOOK, "ftp://a.example/", {}, "https://HOST/PATH"),
        (ChannelKind.WEBHOOK, "https://u:p@a.example/", {}, "--credentials"),
        (ChannelKind.WEBHOOK, "https://a.example/" + "x" * 300, {}, "300 characters"),
        (ChannelKind.FHIR, "http://fhir.example/r4", {}, "--private-network"),
        (ChannelKind.FHIR, "http://fhir.example/r4", {"private_network": True, "patient_data": True}, "patient data"),
        (ChannelKind.FHIR, "https://fhir.example/r4?x=1", {}, "query"),
        (ChannelKind.FHIR, "https://fhir.example/r4", {"options": {"patient_system": "mrn"}}, "is a URI"),
        (ChannelKind.HL7, "10.20.0.9:2575", {"patient_data": True}, "mllp://HOST:PORT"),
        (ChannelKind.HL7, "mllp://10.20.0.9", {"patient_data": True}, "no port"),
        (ChannelKind.HL7, "mllp://h:1", {"patient_data": True, "options": {"version": "3"}}, "2.5.1"),
        (ChannelKind.HL7, "mllp://h:1", {"patient_data": True, "options": {"order_updates": "maybe"}}, "true or false"),
        (ChannelKind.HL7, "mllp://h:1", {"patient_data": True, "options": {"wrong": "1"}}, "sending_facility"),
        (ChannelKind.MAIL, "smtp://h", {}, "mail address"),
        (ChannelKind.MAIL, "smtp://h", {"options": {**MAIL, "recipients": "oncue@HOSPITAL.example"}}, "to itself"),
        (ChannelKind.MAIL, "smtp://h", {"options": {**MAIL, "sender": "a@b\nBcc: c@d"}}, "cannot be printed"),
        (ChannelKind.MAIL, "smtp://h", {"options": {**MAIL, "security": "ssl"}}, "starttls, tls, plain"),
        (ChannelKind.MAIL, "smtp://h", {"patient_data": True, "options": {**MAIL, "security": "plain"}}, "use TLS"),
        (ChannelKind.MAIL, "smtp://h", {"options": MAIL, "priorities": "urgent"}, "STAT, HIGH, ROUTINE, LOW"),
        (ChannelKind.MAIL, "smtp://h", {"options": MAIL, "routes": "knee"}, "chest-ct, head-mr"),
        (ChannelKind.MAIL, "smtp://h", {"options": MAIL, "escalation_minutes": 0}, "1 to 10080 minutes"),
        (ChannelKind.MAIL, "smtp://h", {"options": MAIL, "group_seconds": 3601}, "0 to 3600 seconds"),
        (ChannelKind.MAIL, "smtp://h", {"options": MAIL, "per_hour": 0}, "at least one message"),
    ],
)
def test_a_wrong_word_is_named_with_what_it_should_be(
    kind: ChannelKind, address: str, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(ChannelInvalid, match=said):
        entry(kind, address, **words)


def test_a_name_is_short_and_plain() -> None:
    with pytest.raises(ChannelInvalid, match="no name of a channel"):
        new_entry("reading room", ChannelKind.FHIR, ChannelWish(address="https://h/r4"), known_routes=())


def test_a_secret_in_an_address_is_in_no_message() -> None:
    with pytest.raises(ChannelInvalid) as caught:
        entry(ChannelKind.WEBHOOK, "https://a.example/?token=hunter2#f")
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_others_can_read_or_that_is_short_is_refused(secret: Path) -> None:
    secret.chmod(0o644)
    with pytest.raises(FileUnusable, match="chmod 600"):
        entry(ChannelKind.WEBHOOK, "https://a.example/", credentials=secret)
    secret.chmod(0o600)
    secret.write_text("short")
    with pytest.raises(ChannelInvalid, match="too short"):
        entry(ChannelKind.WEBHOOK, "https://a.example/", credentials=secret)
    with pytest.raises(FileUnusable, match="cannot be read"):
        entry(ChannelKind.WEBHOOK, "https://a.example/", credentials=secret / "none")


def test_credentials_travel_by_tls_alone(secret: Path) -> None:
    with pytest.raises(ChannelInvalid, match="use TLS"):
        entry(ChannelKind.FHIR, "http://fhir.example/r4", credentials=secret, private_network=True)
    assert entry(ChannelKind.FHIR, "http://127.0.0.1:8080/r4", credentials=secret).credentials == str(secret)


def test_a_change_keeps_what_it_does_not_name() -> None:
    made = entry(ChannelKind.MAIL, "smtp://mail.example", options=MAIL, per_hour=10, routes="head-mr")
    words = ChannelWish(options={"subject_prefix": "[urgent]"}, group_seconds=60)
    after = changed(made, words, ["routes"], known_routes=ROUTES)
    options = kept_options(ChannelKind.MAIL, after.options)
    assert isinstance(options, MailOptions)
    assert (options.subject_prefix, options.sender) == ("[urgent]", MAIL["sender"])
    assert (after.routes, after.per_hour, after.group_seconds) == (None, 10, 60)
    assert wished(after, ChannelWish(), known_routes=ROUTES) == replace(after)
    with pytest.raises(ChannelInvalid, match="no option to clear"):
        changed(made, ChannelWish(), ["address"], known_routes=ROUTES)
    with pytest.raises(ChannelInvalid, match="given and cleared"):
        changed(made, ChannelWish(per_hour=5), ["per-hour"], known_routes=ROUTES)
    anew = changed(made, ChannelWish(options=MAIL), ["options"], known_routes=ROUTES)
    assert anew.options == made.options


def test_options_of_an_earlier_version_are_completed() -> None:
    options = kept_options(ChannelKind.HL7, '{"version":"2.4"}')
    assert options == Hl7Options(version="2.4")


def test_an_option_is_a_name_and_a_value() -> None:
    assert split_option("sending-facility=A=B") == ("sending_facility", "A=B")
    with pytest.raises(ChannelInvalid, match="NAME=VALUE"):
        split_option("sending_facility")
