"""Channels and announcements from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage import audit
from storage.announcing import announcements
from storage.announcing.announcements import Failure
from storage.announcing.tables import ChannelKind
from storage.database import utc_now
from storage.domain import Priority
from tests.console.conftest import Place
from tests.support.announcing import add_channel, analyse, taken, tell
from tests.support.commands import Ran, oncue
from tests.support.records import NOW, queued_study

HOOK = "https://alerts.example/oncue"


def ask(place: Place, *words: object) -> Ran:
    return oncue("channels", *words, "--state", place.state)


def said(place: Place, *words: object) -> Ran:
    return oncue("announcements", *words, "--state", place.state)


def listed(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(place, "list", "--json").json
    return found


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("f" * 64)
    file.chmod(0o600)
    return file


def urgent(place: Place, number: int = 1) -> None:
    analyse(place.database, place.objects, queued_study(place.database, number).job_id, Priority.STAT)


def test_a_channel_is_added_changed_shown_and_removed(anywhere: Place, secret: Path) -> None:
    assert ask(anywhere, "list").out == (
        "no channel: nobody is told of urgent studies; oncue channels add NAME KIND ADDRESS\n"
    )
    added = ask(
        anywhere, "add", "desk", "webhook", f"{HOOK}?token=hunter2", "--credentials", secret, "--routes", "head-mr",
        "--priorities", "STAT", "--escalate-after", 15, "--group-seconds", 30, "--per-hour", 20, "--private-network",
        "--option", "header_name=X-Signature",
    )  # fmt: skip # a command line
    assert added.out == (
        "channel desk is told of STAT studies that nobody opened for 15 min by results of head-mr, without patient "
        f"data, at {HOOK}\n"
    ), added.err
    (form,) = listed(anywhere)
    assert (form["priorities"], form["routes"], form["escalation_minutes"]) == (["STAT"], ["head-mr"], 15)
    assert (form["group_seconds"], form["per_hour"], form["private_network"]) == (30, 20, True)
    assert (form["options"], form["address"], form["credentials"]) == (
        {"header_name": "X-Signature"}, HOOK, str(secret),
    )  # fmt: skip # short
    assert ask(anywhere, "change", "desk", "--clear", "routes", "--clear", "escalate-after").code == 0
    shown = ask(anywhere, "show", "desk", "--json").json[0]
    assert (shown["routes"], shown["escalation_minutes"], shown["per_hour"]) == (None, None, 20)
    assert ask(anywhere, "change", "desk", "--priorities", "HIGH,STAT").code == 0
    told = {line.partition("  ")[0].strip(): line.partition("  ")[2].strip() for line in _lines(anywhere)}
    assert (told["option header_name"], told["priorities"], told["paused"]) == ("X-Signature", "STAT, HIGH", "no")
    again = ask(anywhere, "add", "desk", "webhook", HOOK, "--credentials", secret)
    assert (again.code, "error [record_exists]" in again.err) == (1, True)
    assert ask(anywhere, "remove", "desk").out == "channel desk is removed\n"
    with anywhere.database.read() as session:
        events = [event for event in audit.history(session) if event.tag.startswith("channel:")]
    assert [event.tag for event in events] == ["channel:added", *["channel:changed"] * 2, "channel:removed"]
    assert {event.actor.partition(":")[0] for event in events} == {"cli"}
    assert "hunter2" not in "".join(event.details for event in events)


def _lines(place: Place) -> list[str]:
    return ask(place, "show", "desk").out.splitlines()


def test_an_hl7_channel_without_patient_data_is_refused_with_the_reason(place: Place) -> None:
    refused = ask(place, "add", "ris", "hl7", "mllp://10.20.0.9:2575")
    assert refused.code == 1
    assert refused.err.startswith("error [channel_needs_patient_data]: an HL7 receiver files results under a patient")
    assert ask(place, "add", "ris", "hl7", "mllp://10.20.0.9:2575", "--patient-data").code == 0
    assert "is not one of hl7, fhir, webhook, mail" in ask(place, "add", "x", "pager", "tel:112").err


def test_what_waits_is_called_off_before_a_channel_goes(anywhere: Place) -> None:
    add_channel(anywhere.database)
    urgent(anywhere)
    assert ask(anywhere, "pause", "desk").out == "channel desk is paused; 1 announcements wait for it\n"
    assert listed(anywhere)[0]["paused"] is True
    assert ask(anywhere, "resume", "desk").code == 0
    busy = ask(anywhere, "remove", "desk")
    assert (busy.code, "error [channel_busy]" in busy.err, "--call-off" in busy.err) == (1, True, True)
    assert ask(anywhere, "remove", "desk", "--call-off").out == (
        "channel desk is removed; 1 announcements are called off\n"
    )
    (one,) = said(anywhere, "list", "--json").json
    assert (one["channel"], one["state"], one["code"]) == ("desk", "called_off", "channel_removed")


def test_announcements_are_listed_by_state_channel_and_study(place: Place) -> None:
    add_channel(place.database)
    add_channel(place.database, "other", ChannelKind.MAIL)
    urgent(place)
    tell(place.database)
    assert "first: STAT" in said(place, "list").out
    numbers = {one["channel"]: one["id"] for one in said(place, "list", "--json").json}
    assert [one["id"] for one in said(place, "list", "--in", "sent", "--json").json] == [numbers["desk"]]
    assert [one["id"] for one in said(place, "list", "--channel", "other", "--json").json] == [numbers["other"]]
    assert said(place, "list", "--study", 99).out == "no such announcement\n"
    assert said(place, "show", numbers["desk"], "--json").json[0]["state"] == "sent"
    assert "error [record_missing]" in said(place, "show", 99).err


def test_what_was_refused_is_sent_once_more_when_somebody_says_so(place: Place) -> None:
    add_channel(place.database, kind=ChannelKind.HL7)
    urgent(place)
    urgent(place, 2)
    for _ in range(2):
        claim = taken(place.database)
        with place.database.write() as session:
            announcements.refused(session, claim, Failure("hl7_ar", "no such patient"), now=NOW)
    analyse(place.database, place.objects, 2, Priority.LOW, now=utc_now())
    assert listed(place)[0]["refused"] == 2
    assert said(place, "retry", "--refused-by", "desk").out == (
        "1 announcements to desk are due again; 1 tell of what does not hold any more\n"
    )
    assert said(place, "retry").code == 2
    misspelt = said(place, "retry", "--refused-by", "dsek")
    assert (misspelt.code, "there is no channel dsek" in misspelt.err) == (1, True)
    overtaken = said(place, "list", "--in", "refused", "--json").json[0]["id"]
    assert "does not hold any more" in said(place, "retry", overtaken).err


def test_an_announcement_is_called_off(place: Place) -> None:
    add_channel(place.database)
    urgent(place)
    number = said(place, "list", "--json").json[0]["id"]
    assert said(place, "call-off", number).out == f"announcement {number} is called off\n"
    assert "error [illegal_transition]" in said(place, "call-off", number).err
