"""Urgent studies on the pages and in the API: who waits, and what counts as opened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import audit
from storage.announcing import unopened_studies, urgent_studies
from storage.database import utc_now
from storage.domain import Priority
from tests.console.conftest import Place
from tests.support.records import NOW, PATIENT, queued_study
from tests.support.tokens import bearer, new_token
from tests.support.urgent import analyse, waiting_channel

BROWSER = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def waiting(place: Place) -> list[int]:
    with place.database.read() as session:
        return [study.study_id for study in unopened_studies.pending(session)]


def urgent_study(place: Place, number: int = 1, *, minutes_ago: float = 5, priority: Priority = Priority.STAT) -> None:
    at = utc_now() - timedelta(minutes=minutes_ago)
    analyse(place.database, place.objects, queued_study(place.database, number).job_id, now=at, priority=priority)


def sign_in(client: TestClient, place: Place) -> None:
    answer = client.post("/sign-in", data={"token": new_token(place.database), "next": "/"}, follow_redirects=False)
    assert answer.status_code == 303


def test_the_page_lists_whom_nobody_has_opened_and_what_comes_next(place: Place, client: TestClient) -> None:
    waiting_channel(place.database, "on-call", 30)
    urgent_study(place, 1, priority=Priority.HIGH)
    urgent_study(place, 2)
    urgent_study(place, 3, priority=Priority.ROUTINE)
    with place.database.write() as session:
        urgent_studies.announced(session, 2, channel="ris", priority=Priority.STAT, now=utc_now())
    page = client.get("/urgent").text
    assert page.index('href="/studies/2"') < page.index('href="/studies/1"')
    assert 'href="/studies/3"' not in page
    assert "2 studies, the first since" in page
    assert "by ris" in page
    assert "on-call" in page
    assert PATIENT in page
    assert "5.0 min" in page or "5 min" in page
    assert waiting(place) == [2, 1], "a list is not a look at a study"


def test_with_nobody_waiting_the_page_says_so(client: TestClient) -> None:
    page = client.get("/urgent").text
    assert "Every STAT and HIGH study has been opened." in page
    assert "No study was urgent in that time." in page


def test_the_page_shows_times_by_any_group_and_refuses_another(place: Place, client: TestClient) -> None:
    urgent_study(place)
    for by in ("route", "day", "channel", "priority"):
        page = client.get("/urgent", params={"by": by}).text
        assert f"<strong>{by}</strong>" in page
        assert 'class="times-figure"' in page
    assert client.get("/urgent", params={"by": "patient"}).status_code == 422


def test_a_person_who_is_signed_in_opens_a_study_by_its_page(place: Place, client: TestClient) -> None:
    urgent_study(place)
    sign_in(client, place)
    page = client.get("/studies/1").text
    assert waiting(place) == []
    assert "by web/anna" in page, "the page that opens it says so itself"
    client.get("/studies/1")
    with place.database.read() as session:
        assert [event.actor for event in audit.history(session, tag="study:seen")] == ["web/anna"]


def test_a_browser_on_this_machine_opens_a_study_without_a_name(place: Place, client: TestClient) -> None:
    urgent_study(place)
    client.get("/studies/1", headers=BROWSER)
    assert waiting(place) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {**BROWSER, "Sec-Purpose": "prefetch"},
        {**BROWSER, "Sec-Purpose": "prefetch;prerender"},
        {**BROWSER, "Purpose": "prefetch"},
        {"Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Dest": "image"},
    ],
)
def test_what_nobody_looks_at_opens_nothing(place: Place, client: TestClient, headers: dict[str, str]) -> None:
    urgent_study(place)
    assert client.get("/studies/1", headers=headers).status_code == 200
    assert waiting(place) == [1]


def test_programs_open_nothing_by_reading_and_a_study_when_they_say_who_did(place: Place, client: TestClient) -> None:
    urgent_study(place)
    key = bearer(new_token(place.database, "viewer"))
    client.get("/studies/1", headers={**key, **BROWSER})
    detail = client.get("/api/studies/1", headers=key).json()
    client.get("/api/triage/pending", headers=key)
    assert waiting(place) == [1]
    assert [(one["priority"], one["opened_at"]) for one in detail["urgent"]] == [("STAT", None)]
    for wrong in ({}, {"by": ""}, {"by": "a/b"}, {"by": "x" * 49}):
        assert client.post("/api/studies/1/opened", json=wrong, headers=key).status_code == 422
    assert client.post("/api/studies/1/opened", json={"by": "Dr. Jones"}).status_code == 401
    assert client.post("/api/studies/9/opened", json={"by": "Dr. Jones"}, headers=key).status_code == 404
    assert waiting(place) == [1]
    (told,) = client.post("/api/studies/1/opened", json={"by": "Dr. Jones"}, headers=key).json()
    assert (told["opened_by"], told["opened_through"]) == ("web/viewer/Dr. Jones", "program")
    again = client.post("/api/studies/1/opened", json={"by": "Dr. Who"}, headers=key).json()
    assert again == [told], "whoever opened it first did"


def test_the_button_that_marks_it_as_read_opens_it(place: Place, client: TestClient) -> None:
    urgent_study(place)
    key = bearer(new_token(place.database))
    client.post("/api/studies/1/read", json={"by": "Dr. Jones"}, headers=key)
    assert waiting(place) == []
    page = client.get("/studies/1").text
    assert "by web/anna/Dr. Jones (mark)" in page


def test_the_api_lists_those_that_wait_without_a_word_of_the_patient(place: Place, client: TestClient) -> None:
    waiting_channel(place.database, "on-call", 30)
    urgent_study(place, 1, priority=Priority.HIGH)
    urgent_study(place, 2, minutes_ago=2)
    answer = client.get("/api/triage/pending")
    stat, high = answer.json()
    assert answer.headers["X-Total-Count"] == "2"
    assert (stat["study_id"], stat["priority"], high["priority"]) == (2, "STAT", "HIGH")
    assert 110 < stat["waiting_seconds"] < 300
    assert [step["channel"] for step in stat["next_steps"]] == ["on-call"]
    assert PATIENT not in answer.text
    narrowed = client.get("/api/triage/pending", params={"priority": "HIGH", "limit": 1})
    assert [one["study_id"] for one in narrowed.json()] == [1]
    assert narrowed.headers["X-Total-Count"] == "1"


def test_the_api_tells_times_since_a_moment(place: Place, client: TestClient) -> None:
    analyse(place.database, place.objects, queued_study(place.database).job_id, now=NOW + timedelta(seconds=90))
    assert client.get("/api/triage/times").json()["total"]["studies"] == 0
    report = client.get("/api/triage/times", params={"since": "2026-03-01", "by": "day"}).json()
    (day,) = report["groups"]
    assert (day["group"], day["studies"], day["unopened"]) == ("2026-03-01", 1, 1)
    assert day["analysed"] == {"count": 1, "median_seconds": 90.0, "p95_seconds": 90.0, "left_out": 0}
    assert day["announced"]["median_seconds"] is None
    assert client.get("/api/triage/times", params={"since": "yesterday"}).status_code == 422
    assert client.get("/api/triage/times", params={"by": "patient"}).status_code == 422


def test_the_study_page_says_what_became_of_it(place: Place, client: TestClient) -> None:
    waiting_channel(place.database, "on-call", 30)
    urgent_study(place)
    page = client.get("/studies/1").text
    assert "Urgent, and opened by nobody" in page
    assert "on-call is told at" in page
    urgent_study(place, 2, priority=Priority.LOW)
    assert 'id="urgent"' not in client.get("/studies/2").text
