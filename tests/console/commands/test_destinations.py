"""Destinations from the command line: entries, what a destination takes, and what becomes of what waits for it."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from console.config import Settings
from console.supervision.lock import exclusive
from console.supervision.site import Endpoints
from dicom_gateway.config import GatewaySettings
from storage import audit, deliveries, delivery_claims, delivery_lists, destinations, negotiations, reports
from storage.commitment import proofs
from storage.commitment.proofs import Cause, Terms
from storage.database import utc_now
from storage.domain import ObjectKind
from storage.proof_ways import ProofWay
from storage.states import DeliveryState
from tests.console.conftest import Place
from tests.support import storescp_profiles as profiles
from tests.support.commands import Ran, oncue
from tests.support.peers import dcmtk_storescp, free_port
from tests.support.records import analysed_study, finish_again, queued_study

PACS = "PACS@10.20.0.5:104"


def ask(place: Place, *words: object) -> Ran:
    return oncue("destinations", *words, "--state", place.state)


def listed(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(place, "list", "--json").json
    return found


def waiting_for(place: Place, name: str) -> None:
    """Put a SEG and an SR on their way to a destination."""
    recorded = analysed_study(place.database, place.objects)
    job_id = queued_study(place.database, 2).job_id
    finish_again(place.database, place.objects, job_id)
    with place.database.write() as session:
        objects = reports.objects_of(session, recorded.job_id)
        reports.written(session, job_id, objects, destinations=[name], now=utc_now())


def test_an_entry_is_added_changed_listed_and_removed(anywhere: Place) -> None:
    added = ask(
        anywhere, "add", "pacs", PACS, "--forms", "SEG,SR,SC", "--routes", "head-mr", "--priorities", "STAT,HIGH",
        "--transfer-syntaxes", "implicit", "--series-number", 700, "--series-description", "AI", "--character-set",
        "ISO_IR 100", "--no-segmentations", "--show-priority", "--rejection-notes", "--unanalysed", "sr",
        "--associations", 2, "--objects-per-association", 50, "--kilobytes-per-second", 1000,
    )  # fmt: skip # a command line
    told = "destination pacs gets results of head-mr with priority STAT or HIGH as SEG, SR, SC at PACS@10.20.0.5:104\n"
    assert added.out == told, added.err
    (form,) = listed(anywhere)
    assert (form["origin"], form["forms"], form["gets"]) == ("entry", ["SEG", "SR", "SC"], ["SC", "SR"])
    assert form["because"] == "SEG segmentations_not_kept, SC instead"
    assert (form["series_number_base"], form["transfer_syntaxes"]) == (700, ["1.2.840.10008.1.2"])
    assert (form["unanalysed"], form["associations"], form["rejection_notes"]) == ("sr", 2, True)
    assert form["shows_priority"]
    changed = ask(anywhere, "change", "pacs", "--segmentations", "--clear", "routes", "--clear", "priorities", "--json")
    (form,) = changed.json
    assert (form["gets"], form["routes"], form["series_description"]) == (["SEG", "SR", "SC"], None, "AI")
    again = ask(anywhere, "add", "pacs", PACS)
    assert (again.code, "error [record_exists]" in again.err) == (1, True)
    assert ask(anywhere, "remove", "pacs").out == "destination pacs is removed\n"
    assert "oncue destinations add NAME" in ask(anywhere, "list").out
    with anywhere.database.read() as session:
        actors = {event.actor.partition(":")[0] for event in audit.history(session) if "destination" in event.tag}
    assert actors == {"cli"}


def test_an_address_that_a_running_up_was_given_is_listed(place: Place) -> None:
    settings = Settings(gateway=GatewaySettings(destinations=(PACS,)))
    with exclusive(place.state):
        Endpoints.of(settings).write(place.state)
        running = listed(place)
    assert [form["address"] for form in running] == [PACS]
    assert listed(place) == []


def test_a_wrong_word_is_one_line_that_says_what_it_should_be(place: Place) -> None:
    wrong = ask(place, "add", "pacs", PACS, "--routes", "no-such-route")
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err.startswith("error [destination_invalid]: there is no route 'no-such-route'; these are: ")
    missing = ask(place, "change", "pacs", "--forms", "SR")
    assert "error [record_missing]" in missing.err


def test_addresses_of_the_settings_are_listed_until_an_entry_has_them(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_GATEWAY_DESTINATIONS", f'["{PACS}", "ARCHIVE@10.20.0.6:104"]')
    monkeypatch.setenv("ONCUE_GATEWAY_REJECT_SUPERSEDED", f'["{PACS}"]')
    assert [(one["name"], one["origin"], one["rejection_notes"]) for one in listed(place)] == [
        (PACS, "settings", True),
        ("ARCHIVE@10.20.0.6:104", "settings", False),
    ]
    assert ask(place, "add", "pacs", PACS).code == 0
    assert [one["name"] for one in listed(place)] == ["pacs", "ARCHIVE@10.20.0.6:104"]


def test_what_is_on_its_way_is_called_off_before_an_entry_goes(anywhere: Place) -> None:
    assert ask(anywhere, "add", "pacs", PACS).code == 0
    waiting_for(anywhere, "pacs")
    assert listed(anywhere)[0]["waiting"] == 2
    paused = ask(anywhere, "pause", "pacs")
    assert paused.out == "destination pacs is paused; 2 deliveries wait for it\n"
    assert listed(anywhere)[0]["paused"] is True
    assert ask(anywhere, "resume", "pacs").code == 0
    busy = ask(anywhere, "remove", "pacs")
    assert (busy.code, "error [destination_busy]" in busy.err, "--call-off" in busy.err) == (1, True, True)
    assert ask(anywhere, "remove", "pacs", "--call-off").out == (
        "destination pacs is removed; 2 deliveries are called off\n"
    )
    with anywhere.database.read() as session:
        found = delivery_lists.listed(session, state=DeliveryState.CALLED_OFF)
    assert {one.destination for one in found} == {"pacs"}
    assert len(oncue("deliveries", "list", "--in", "called_off", "--json", "--state", anywhere.state).json) == 2


@pytest.mark.peer
@pytest.mark.slow
def test_a_test_says_what_is_taken_and_what_is_sent_instead(anywhere: Place, tmp_path: Path) -> None:
    options = profiles.taking(tmp_path, {ObjectKind.SR, ObjectKind.SC})
    with dcmtk_storescp(tmp_path, *options) as peer:
        ask(anywhere, "add", "viewer", f"{peer.ae_title}@127.0.0.1:{peer.port}", "--forms", "SEG,SR,GSPS")
        passed = ask(anywhere, "test", "viewer", "--json")
        assert passed.code == 0, passed.err
        assert {one["form"]: one["taken"] for one in passed.json["forms"] if one["taken"]} == {"SR": True, "SC": True}
        assert [(one["asked"], one["chosen"], one["reason"]) for one in passed.json["choices"]] == [
            ("SEG", "SC", "not_taken"), ("SR", "SR", "taken"), ("GSPS", "SC", "not_taken"),
        ]  # fmt: skip # a table
        told = ask(anywhere, "test", "viewer").out
        assert "all of it can go there" in told
        assert "Explicit VR LE, Implicit VR LE" in told
        with anywhere.database.read() as session:
            assert negotiations.find(session, "viewer").asked_at is not None
        ask(anywhere, "change", "viewer", "--forms", "PM,SR", "--rejection-notes")
        lacking = ask(anywhere, "test", "viewer")
        assert lacking.code == 1
        assert "not all of it can go there" in lacking.out
        assert "Key Object" in lacking.out
        assert peer.files() == ()


@pytest.mark.slow
def test_a_destination_that_does_not_answer_fails_its_test(place: Place) -> None:
    ask(place, "add", "gone", f"GONE@127.0.0.1:{free_port()}")
    failed = ask(place, "test", "gone", "--json")
    assert (failed.code, failed.json["answered"], failed.json["code"]) == (1, False, "peer_unreachable")
    assert ask(place, "test", "gone").out.startswith("destination gone does not answer: [peer_unreachable]")


def test_credentials_that_others_can_read_are_not_taken(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("user:password\n")
    file.chmod(0o644)
    refused = ask(place, "add", "web", "https://pacs.example.org/dicom-web", "--credentials", file)
    assert "error [file_unusable]" in refused.err
    file.chmod(stat.S_IRUSR)
    assert ask(place, "add", "web", "https://pacs.example.org/dicom-web", "--credentials", file).code == 0
    with place.database.read() as session:
        assert destinations.find(session, "web").entry.credentials == str(file)
        (event,) = audit.history(session, tag="destination:added")
    assert str(tmp_path) not in event.details


def test_what_a_destination_does_not_vouch_for_is_shown_where_people_look(anywhere: Place) -> None:
    ask(anywhere, "add", "pacs", PACS, "--proof", "commitment", "--proof-address", "ARCHIVE@10.20.0.6:104")
    waiting_for(anywhere, "pacs")
    now = utc_now()
    with anywhere.database.write() as session:
        while batch := delivery_claims.claim_due(session, owner="g", lease_seconds=60, now=now):
            for one in batch:
                deliveries.sent(session, one.id, owner="g", status=0, now=now)
        later = now + timedelta(minutes=1)
        inquiry = proofs.claim(session, "pacs", Terms(ProofWay.COMMITMENT, "2.25.1", 9), now=later)
        assert inquiry is not None
        first, second = (one.delivery_id for one in inquiry.objects)
        proofs.failed(session, [first], Cause("commitment_refused", "it does not have the class"), now=later)
        proofs.committed(session, [second], now=later)
    (form,) = listed(anywhere)
    assert (form["proof"], form["proof_address"], form["unproven"]) == ("commitment", "ARCHIVE@10.20.0.6:104", 1)
    shown = oncue("deliveries", "list", "--json", "--state", anywhere.state).json
    states = {one["id"]: one["proof"] and one["proof"]["state"] for one in shown}
    assert (states[first], states[second]) == ("failed", "committed")
    detail = oncue("deliveries", "show", first, "--state", anywhere.state).out
    assert "it does not have the class" in detail
    assert "commitment_refused" in oncue("deliveries", "list", "--state", anywhere.state).out
    remarks = oncue("doctor", "--state", anywhere.state, "--json", "--only", "destinations").json
    told = " ".join(part["detail"] for part in remarks)
    assert "1 objects that it took it does not vouch for" in told
    assert "oncue peers add pacs --aet ARCHIVE --services commit" in told
    oncue("peers", "add", "archive", "--aet", "ARCHIVE", "--state", anywhere.state)
    remarks = oncue("doctor", "--state", anywhere.state, "--json", "--only", "destinations").json
    assert any("oncue peers change archive --services commit,echo,store" in part["detail"] for part in remarks)
