from __future__ import annotations

from typing import Any

import pytest

from storage import refused_peers
from storage.database import utc_now
from storage.refused_peers import Attempts
from tests.console.conftest import Place
from tests.support.commands import oncue


def examined(place: Place) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = oncue("doctor", "--state", place.state, "--json", "--only", "peers").json
    return parts


def turn_away(place: Place, *titles: str, code: str = "calling_aet_unknown") -> None:
    now = utc_now()
    with place.database.write() as session:
        attempts = [Attempts(title, "ONCUE", "10.20.0.7", code, 14, now, now) for title in titles]
        refused_peers.note(session, attempts, events=0, now=now)


def test_without_entries_the_doctor_says_who_may_send_and_how_to_add_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (part,) = examined(place)
    assert part["verdict"] == "fine"
    assert part["detail"] == "none: senders on this machine alone may send, and the listener is on 127.0.0.1 alone"
    monkeypatch.setenv("ONCUE_GATEWAY_HOST", "10.20.0.1")
    (part,) = examined(place)
    assert part["verdict"] == "remark"
    assert part["detail"].startswith("none: senders on this machine alone may send; oncue peers add NAME --aet AET")
    monkeypatch.delenv("ONCUE_GATEWAY_HOST")
    monkeypatch.setenv("ONCUE_GATEWAY_LISTENERS", '[{"host": "10.20.0.1", "port": 11113, "tls": false}]')
    (part,) = examined(place)
    assert part["verdict"] == "remark"


def test_a_stranger_is_named_with_the_command_that_lets_it_in(place: Place) -> None:
    turn_away(place, "CT1")
    assert oncue("peers", "add", "mr", "--aet", "MR", "--state", place.state).code == 0
    peers, stranger = examined(place)
    assert (peers["verdict"], peers["detail"]) == ("fine", "1 may send, 0 kept out")
    assert stranger["detail"].startswith("CT1 at 10.20.0.7 was turned away 14 times, last at ")
    command = stranger["detail"].partition("let it in: oncue ")[2].split()
    assert oncue(*command).code == 0
    assert [part["subject"] for part in examined(place)] == ["peers"]


def test_the_doctor_names_some_of_many_strangers_and_none_that_is_kept_out_on_purpose(place: Place) -> None:
    turn_away(place, *(f"EVIL{number}" for number in range(15)))
    turn_away(place, "BLOCKED", code="peer_blocked")
    _, *strangers = examined(place)
    assert len(strangers) == 11
    assert strangers[-1]["detail"].startswith("5 more: oncue peers list --refused")
