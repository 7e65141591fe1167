"""Studies that wait, are held or were set aside: in lists, on pages, in the API, and how they are released."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from dicom_gateway.completeness.rules import Rules
from dicom_gateway.config import AtDeadline
from storage import study_arrivals
from storage.study_arrivals import SourceAnswer
from tests.console.conftest import Place
from tests.support.arriving import Arriving
from tests.support.commands import oncue


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def _incomplete(place: Place, at_deadline: AtDeadline) -> Arriving:
    """Have a study arrive whose source holds four images while one has come, and its deadline pass."""
    rules = Rules(quiet_seconds=10, deadline_seconds=600, at_deadline=at_deadline)
    arriving = Arriving(place.database, place.objects, rules)
    arriving.image()
    arriving.clock.turn(5)
    with place.database.write() as session:
        study_arrivals.ask(session, 1, asked_before=None, now=arriving.clock())
        study_arrivals.answered(session, 1, SourceAnswer(4), now=arriving.clock())
    arriving.look(60)
    return arriving


@pytest.mark.parametrize("at_deadline", [AtDeadline.HOLD, AtDeadline.SET_ASIDE])
def test_a_study_that_is_held_back_is_told_everywhere_until_it_is_released(
    place: Place, client: TestClient, at_deadline: AtDeadline
) -> None:
    arriving = _incomplete(place, at_deadline)
    assert "it is waited for" in client.get("/studies/1").text
    arriving.look(600)
    state = "held" if at_deadline is AtDeadline.HOLD else "set_aside"
    page = client.get("/studies/1").text
    assert "1 images came, and the source of the study holds 4" in page
    assert "oncue studies release 1" in page
    assert f'class="state {state}"' in client.get("/").text
    shown = client.get("/api/studies/1").json()["study"]
    assert (shown["state"], shown["waits_for"], shown["expected_instances"]) == (state, "expected_instances", 4)
    (listed,) = oncue("studies", "list", "--in", state, "--state", place.state, "--json").json
    assert listed["state"] == state
    assert oncue("studies", "list", "--in", "receiving", "--state", place.state, "--json").json == []
    (released,) = oncue("studies", "release", "1", "--state", place.state, "--json").json
    assert (released["state"], released["waits_for"]) == ("receiving", None)
    arriving.look()
    assert client.get("/api/studies/1").json()["study"]["state"] == "queued"
    assert arriving.events("study:released") != []


def test_what_cannot_be_released_says_why(place: Place) -> None:
    arriving = _incomplete(place, AtDeadline.ANALYSE)
    arriving.look(600)
    complete = oncue("studies", "release", "1", "--state", place.state)
    assert (complete.code, "[illegal_transition]" in complete.err) == (1, True)
    missing = oncue("studies", "release", "1.2.3.4", "--state", place.state)
    assert (missing.code, "[record_missing]" in missing.err) == (1, True)
