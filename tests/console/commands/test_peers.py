"""Peers from the command line: entries, callers that were turned away, and the test of an entry."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from storage import associations, audit, peer_usage, peers, processes, refused_peers
from storage.database import utc_now
from storage.peer_usage import Usage
from storage.refused_peers import Attempts
from tests.console.conftest import Place
from tests.support.commands import Ran, oncue
from tests.support.peers import dcmtk_archive, free_port


def ask(place: Place, *words: object) -> Ran:
    return oncue("peers", *words, "--state", place.state)


def listed(place: Place, *words: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(place, "list", *words, "--json").json
    return found


def turn_away(place: Place, title: str, address: str, code: str = "calling_aet_unknown", called: str = "ONCUE") -> None:
    now = utc_now()
    with place.database.write() as session:
        attempts = Attempts(title, called, address, code, 3, now - timedelta(minutes=5), now)
        refused_peers.note(session, (attempts,), events=1, now=now)


def test_an_entry_is_added_listed_replaced_and_removed(anywhere: Place) -> None:
    added = ask(
        anywhere, "add", "ct1", "--aet", "CT1", "--network", "10.20.0.7", "--lane", "stat", "--services", "store",
        "--sop-class", "CTImageStorage", "--sop-class", "MRImageStorage", "--images-per-hour", 500,
        "--certificate-name", "ct1.example.org", "--query", "PACS@10.20.0.2:104",
        "--store-address", "WS1@10.20.0.3:104",
    )  # fmt: skip # a command line
    told = "it calls itself CT1, from 10.20.0.7/32, certificate ct1.example.org, lane stat"
    assert added.out == f"peer ct1 is let in for store: {told}\n", added.err
    with anywhere.database.write() as session:
        used = {(peer_usage.hour_of(utc_now()), "ct1"): Usage(2, 40, 20_500_000)}
        peer_usage.add(session, used, now=utc_now())
    (form,) = listed(anywhere)
    assert (form["services"], form["network"], form["lane"]) == (["store"], "10.20.0.7/32", "stat")
    assert (len(form["sop_classes"]), form["query_address"]) == (2, "PACS@10.20.0.2:104")
    assert form["store_address"] == "WS1@10.20.0.3:104"
    assert (form["used_images"], form["images_per_hour"], form["used_megabytes"]) == (40, 500, 20.5)
    assert "40 of 500 images" in ask(anywhere, "list").out
    again = ask(anywhere, "add", "ct1", "--aet", "CT1")
    assert (again.code, "error [record_exists]" in again.err, "--replace" in again.err) == (1, True, True)
    assert ask(anywhere, "add", "ct1", "--aet", "CT2", "--replace").code == 0
    (form,) = listed(anywhere)
    assert (form["calling_aet"], form["network"], form["services"]) == ("CT2", None, ["echo", "store"])
    assert ask(anywhere, "remove", "ct1").out == "peer ct1 is removed\n"
    assert listed(anywhere) == []
    assert "no peer has an entry" in ask(anywhere, "list").out
    with anywhere.database.read() as session:
        actors = {event.actor for event in audit.history(session, subject="peer/ct1")}
    assert len(actors) == 1
    assert actors.pop().startswith("cli:")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--aet", "A" * 17), "error [peer_invalid]: 'AAAAAAAAAAAAAAAAA' is no AE title"),
        (("--aet", "CT", "--network", "10.0.0.1/8"), "did you mean 10.0.0.0/8"),
        (("--aet", "CT", "--sop-class", "NoSuchStorage"), "docs/conformance.md"),
        (("--aet", "CT", "--lane", "fast"), "'fast' is not one of stat, routine, batch"),
        (("--aet", "CT", "--services", "move"), "'move' is not one of echo, store"),
        (("--aet", "CT", "--services", ","), "at least one of echo, store"),
        (("--aet", "CT", "--images-per-hour", "0"), "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_an_entry_is_refused_with_what_it_should_be(
    place: Place, words: tuple[str, ...], told: str
) -> None:
    ran = ask(place, "add", "ct", *words)
    assert ran.code in (1, 2)
    assert told in ran.err
    assert listed(place) == []


def test_a_caller_that_was_turned_away_is_let_in_by_its_number_from_its_address(anywhere: Place) -> None:
    turn_away(anywhere, "CT 1", "::ffff:10.20.0.7")
    (row,) = listed(anywhere, "--refused")
    assert (row["calling_aet"], row["count"], row["code"]) == ("CT 1", 3, "calling_aet_unknown")
    assert f"oncue peers allow {row['number']} --state {anywhere.state}" in ask(anywhere, "list", "--refused").out
    assert ask(anywhere, "allow", row["number"], "--lane", "batch").code == 0
    (form,) = listed(anywhere)
    assert (form["name"], form["calling_aet"], form["network"]) == ("CT-1", "CT 1", "10.20.0.7/32")
    assert (form["called_aet"], form["lane"]) == (None, "batch")
    assert listed(anywhere, "--refused") == []


def test_a_caller_is_let_in_by_its_title_unless_several_have_it(place: Place) -> None:
    turn_away(place, "CT1", "10.20.0.7", "called_aet_unknown", called="TRIAGE")
    assert ask(place, "allow", "CT1", "--network", "10.20.0.0/16", "--name", "east").code == 0
    (form,) = listed(place)
    assert (form["name"], form["called_aet"], form["network"]) == ("east", "TRIAGE", "10.20.0.0/16")
    turn_away(place, "MR", "10.20.0.8")
    turn_away(place, "MR", "10.20.0.9")
    several = ask(place, "allow", "MR")
    assert (several.code, "10.20.0.8" in several.err, "10.20.0.9" in several.err) == (1, True, True)
    assert "nobody was turned away" in ask(place, "allow", "US").err
    assert "see `oncue peers list --refused`" in ask(place, "allow", 4711).err


def test_what_an_entry_does_not_help_against_is_not_let_in_by_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn_away(place, "CT1", "10.20.0.7", "quota_exceeded")
    refused = ask(place, "allow", "CT1")
    assert (refused.code, "raise the quota" in refused.err) == (1, True)
    turn_away(place, "MR", "10.20.0.8")
    monkeypatch.setenv("ONCUE_GATEWAY_ALLOWED_NETWORKS", "192.168.0.0/16")
    assert "gateway.allowed_networks keeps 10.20.0.8 out" in ask(place, "allow", "MR").err


def test_a_peer_is_kept_out_and_let_in_again(place: Place) -> None:
    ask(place, "add", "ct1", "--aet", "CT1")
    assert ask(place, "block", "ct1").out == "peer ct1 is kept out\n"
    assert listed(place)[0]["allowed"] is False
    assert "kept out" in ask(place, "list").out
    assert ask(place, "allow", "ct1").code == 0
    assert listed(place)[0]["allowed"] is True
    assert ask(place, "block", "mr").code == 1


def found_by_test(place: Place, name: str, *words: str) -> dict[str, tuple[bool, str]]:
    return {one["subject"]: (one["passed"], one["detail"]) for one in ask(place, "test", name, *words, "--json").json}


@pytest.mark.peer
@pytest.mark.slow
def test_a_peer_that_is_as_its_entry_says_passes_the_test(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_GATEWAY_HOST", "10.20.0.1")
    with place.database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=utc_now())
    with dcmtk_archive(tmp_path) as archive:
        address = f"{archive.ae_title}@127.0.0.1:{archive.port}"
        ask(
            place, "add", "ct1", "--aet", "CT1", "--network", "10.20.0.0/16", "--lane", "stat", "--query", address,
            "--services", "echo,store,find,get,commit", "--store-address", address,
        )  # fmt: skip # a command line
        ran = ask(place, "test", "ct1")
    assert ran.code == 0, ran.out
    assert "CT1 at 10.20.0.0, calling ONCUE, would be let in: lane stat" in ran.out
    assert "services commit, echo, find, get, store" in ran.out
    assert ran.out.count("answered C-ECHO") == 2


def test_what_stands_in_the_way_of_a_peer_is_named(place: Place) -> None:
    dead = f"PACS@127.0.0.1:{free_port()}"
    ask(
        place, "add", "ct1", "--aet", "CT1", "--network", "10.20.0.0/16", "--images-per-hour", 2, "--query", dead,
        "--store-address", dead,
    )  # fmt: skip # a command line
    with place.database.write() as session:
        peer_usage.add(session, {(peer_usage.hour_of(utc_now()), "ct1"): Usage(1, 2, 0)}, now=utc_now())
    turn_away(place, "CT1", "10.30.0.7", "network_not_allowed")
    assert ask(place, "test", "ct1").code == 1
    found = found_by_test(place, "ct1", "--address", "10.30.0.7")
    assert not any(passed for passed, _ in found.values())
    assert "[network_not_allowed]" in found["admission"][1]
    assert "set gateway.host" in found["listener"][1]
    assert found["images per hour"][1] == "2 of 2 used in this hour"
    assert "CT1 at 10.30.0.7 was turned away 3 times" in found["turned away"][1]
    assert "[peer_unreachable]" in found["query address"][1]
    assert "[peer_unreachable]" in found["store address"][1]
    ask(place, "block", "ct1")
    assert "[peer_blocked]" in found_by_test(place, "ct1")["admission"][1]
    assert "there is no peer mr" in ask(place, "test", "mr").err
    with place.database.read() as session:
        assert peers.query_address(session, "CT1") is None


def test_a_refusal_counts_no_more_once_the_settings_would_let_the_caller_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(place, "add", "ct1", "--aet", "CT1")
    turn_away(place, "CT1", "10.30.0.7", "network_not_allowed")
    monkeypatch.setenv("ONCUE_GATEWAY_ALLOWED_NETWORKS", '["10.20.0.0/16"]')
    assert found_by_test(place, "ct1")["turned away"][0] is False
    monkeypatch.setenv("ONCUE_GATEWAY_ALLOWED_NETWORKS", '["10.0.0.0/8"]')
    passed, detail = found_by_test(place, "ct1")["turned away"]
    assert passed
    assert detail.endswith("[network_not_allowed]; it would be let in now")


@pytest.mark.parametrize(
    ("code", "called"), [("certificate_not_allowed", "ONCUE"), ("called_aet_unknown", "ONCU")], ids=str
)
def test_a_refusal_for_what_the_peer_did_counts_until_it_was_let_in(place: Place, code: str, called: str) -> None:
    ask(place, "add", "ct1", "--aet", "CT1", "--certificate-name", "ct1.example.org")
    turn_away(place, "CT1", "10.20.0.7", code, called)
    assert found_by_test(place, "ct1")["turned away"][0] is False
    with place.database.write() as session:
        processes.start(session, "gateway-1", "gateway", now=utc_now())
        associations.opened(
            session,
            process_id="gateway-1",
            calling_aet="CT1",
            called_aet="ONCUE",
            remote_address="10.20.0.7",
            now=utc_now(),
        )
    passed, detail = found_by_test(place, "ct1")["turned away"]
    assert passed
    assert detail.endswith(f"[{code}]; CT1 was let in since")


def test_a_peer_may_come_by_any_listener_that_could_let_it_in(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(place, "add", "ct1", "--aet", "CT1", "--network", "10.20.0.7")
    ask(place, "add", "ct2", "--aet", "CT2", "--network", "10.20.0.8", "--certificate-name", "CT2")
    assert "set gateway.host" in found_by_test(place, "ct1")["listener"][1]
    assert "no listener asks for one" in found_by_test(place, "ct2")["listener"][1]
    monkeypatch.setenv("ONCUE_GATEWAY_LISTENERS", '[{"host": "10.20.0.1", "port": 11113, "tls": false}]')
    assert "listener" not in found_by_test(place, "ct1")
    assert "no listener asks for one" in found_by_test(place, "ct2")["listener"][1]
    for key in ("CERTIFICATE", "KEY", "CALLERS_CA"):
        monkeypatch.setenv(f"ONCUE_GATEWAY_TLS_{key}", str(tmp_path / "any.pem"))
    monkeypatch.setenv("ONCUE_GATEWAY_LISTENERS", '[{"host": "127.0.0.1"}]')
    assert "only this machine reaches it" in found_by_test(place, "ct2")["listener"][1]
    monkeypatch.setenv("ONCUE_GATEWAY_LISTENERS", '[{"host": "10.20.0.1"}]')
    assert "listener" not in found_by_test(place, "ct2")


def test_the_number_of_a_caller_never_becomes_that_of_another(anywhere: Place) -> None:
    turn_away(anywhere, "CT1", "10.20.0.7")
    (first,) = listed(anywhere, "--refused")
    assert ask(anywhere, "allow", first["number"]).code == 0
    turn_away(anywhere, "EVIL", "10.20.0.66")
    assert ask(anywhere, "allow", first["number"]).code == 1
    assert [form["calling_aet"] for form in listed(anywhere)] == ["CT1"]


def test_what_a_change_does_not_name_stays_and_a_blocked_entry_stays_blocked(place: Place) -> None:
    ask(place, "add", "ws1", "--aet", "WS1", "--network", "10.20.0.30", "--lane", "stat", "--images-per-hour", 50)
    assert ask(place, "change", "ws1").code == 2
    changed = ask(place, "change", "ws1", "--services", "echo,find,get", "--store-address", "WS1@10.20.0.30:11112")
    assert changed.out.startswith("peer ws1 is let in for echo, find, get: it calls itself WS1, from 10.20.0.30/32")
    ask(place, "block", "ws1")
    blocked = ask(place, "change", "ws1", "--query", "WS1@10.20.0.30:104", "--json").json
    (form,) = blocked
    assert (form["allowed"], form["services"], form["lane"]) == (False, ["echo", "find", "get"], "stat")
    assert (form["store_address"], form["query_address"]) == ("WS1@10.20.0.30:11112", "WS1@10.20.0.30:104")
    assert form["images_per_hour"] == 50
    assert "is kept out" in ask(place, "change", "ws1", "--lane", "batch").out
