"""The history as people and programs ask it: command line, API and pages, on one installation."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import audit
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.records import PATIENT, analysed_study, deliver, failed_study


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as opened:
        yield opened


def query(place: Place, *options: object) -> object:
    ran = oncue("audit", "query", *options, "--format", "json", "--state", place.state)
    assert ran.code == 0, ran.err
    return ran.json


def test_a_patient_is_found_by_the_id_which_is_written_nowhere(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects)
    found = query(place, "--patient", PATIENT)
    assert isinstance(found, dict)
    assert {event["tag"] for event in found["events"]} >= {"study:opened", "study:analysed"}
    answer = client.post("/audit/question", content=f"patient={PATIENT}&action=study%3A", follow_redirects=False)
    assert answer.status_code == 303
    assert PATIENT not in answer.headers["location"]
    page = client.get(answer.headers["location"]).text
    assert "study:analysed" in page
    assert "job:opened" not in page.partition('id="events"')[2]
    key = client.post("/api/audit/patient-key", json={"patient": PATIENT}).json()["patient_key"]
    events = client.get("/api/audit", params={"patient_key": key}).json()["events"]
    assert {event["patient_key"] for event in events} == {key}
    database = sqlite3.connect(place.state / "oncue.sqlite")
    written = [str(row) for row in database.execute("SELECT * FROM audit_events")]
    written += [str(row) for row in database.execute("SELECT block FROM audit_events_words_data")]
    database.close()
    assert written
    assert not [row for row in written if PATIENT in row]


def test_pages_in_both_directions_hold_the_same_events(place: Place) -> None:
    failed_study(place.database)
    until = audit.moment(utc_now())
    walks = []
    for direction in ([], ["--oldest-first"]):
        walked: list[int] = []
        cursor: list[object] = []
        while True:
            page = query(place, *direction, *cursor, "--until", until, "--limit", 3)
            assert isinstance(page, dict)
            walked += [event["seq"] for event in page["events"]]
            if page["cursor"] is None:
                break
            cursor = ["--after", page["cursor"]]
        walks.append(walked)
    assert walks[0] == walks[1][::-1]
    assert len(walks[0]) > 5


def test_events_are_written_as_lines_and_as_cells_that_no_spreadsheet_calculates(place: Place) -> None:
    failed_study(place.database)
    with place.database.write() as session:
        audit.record(session, "study:opened", "study/7.7", actor="=1+1", now=utc_now())
    lines = oncue("audit", "query", "--limit", 0, "--format", "jsonl", "--state", place.state)
    events = [json.loads(line) for line in lines.out.splitlines()]
    assert len(events) > 5
    assert "=1+1" in {event["actor"] for event in events}
    cells = oncue("audit", "query", "--object", "7.7", "--format", "csv", "--state", place.state)
    ((header, row)) = list(csv.reader(io.StringIO(cells.out)))
    assert dict(zip(header, row, strict=True))["actor"] == "'=1+1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--since", "soon"), "question_invalid"),
        (("--after", "x"), "question_invalid"),
        (("--series", "a b"), "question_invalid"),
        (("--outcome", "odd"), "question_invalid"),
        (("--study", "999"), "record_missing"),
        (("--patient", ""), "--patient is empty"),
        (("--actor", "cli:anna", "--study", ""), "--study is empty"),
        (("--since", "2026-03-02", "--until", "2026-03-01"), "question_invalid"),
        (("--since", "1h", "--until", "2h"), "question_invalid"),
        (("--limit", "0"), "jsonl"),
        (("--facets", "--format", "csv"), "--facets"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_reason(place: Place, options: tuple[str, ...], said: str) -> None:
    ran = oncue("audit", "query", *options, "--state", place.state)
    assert ran.code != 0
    assert said in ran.err


def test_facets_count_what_the_question_finds(place: Place) -> None:
    failed_study(place.database)
    found = query(place, "--study", "1", "--facets", "--limit", 1000)
    assert isinstance(found, dict)
    facets = found["facets"]
    assert facets["complete"] is True
    assert sum(tally["count"] for tally in facets["actions"]) == len(found["events"])
    assert {"value": "study:opened", "count": 1} in facets["actions"]
    everything = query(place, "--facets", "--limit", 1000)
    assert isinstance(everything, dict)
    assert sum(tally["count"] for tally in everything["facets"]["days"]) == len(everything["events"])


def test_a_timeline_tells_a_study_in_sentences(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    deliver(place.database)
    told = oncue("audit", "timeline", recorded.study_instance_uid, "--state", place.state)
    assert "The first image arrived from" in told.out
    assert "found 1 lesions on route head-mr" in told.out
    assert "not said" not in told.out
    form = client.get("/api/studies/1/timeline").json()
    sentences = [step["sentence"] for day in form["days"] for step in day["steps"]]
    assert any(sentence.startswith("An object was sent to") for sentence in sentences)
    assert "The first image arrived from" in client.get("/studies/1").text
    assert PATIENT not in json.dumps(form)


def test_who_saw_a_study_is_told_with_those_who_were_sent_it(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    deliver(place.database)
    page = client.get("/studies/1").text
    picture = re.search(rf"/jobs/{recorded.job_id}/overlays/[0-9a-f]+\.png", page)
    assert picture is not None
    for _ in range(3):
        assert client.get(picture[0]).status_code == 200
    oncue("audit", "timeline", "1", "--state", place.state)
    seen = oncue("audit", "who-saw", "1", "--json", "--state", place.state).json
    assert {(one["what"], one["times"]) for one in seen if one["who"] == "web/testclient"} == {("record", 1)}
    assert [one["what"] for one in seen if one["who"].startswith("cli:")] == ["history"]
    assert "object" in {one["what"] for one in seen}
    again = client.get("/api/studies/1/sightings").json()
    assert {one["who"] for one in again} == {one["who"] for one in seen}


def test_a_picture_that_is_looked_at_by_itself_is_on_record_once_a_visit(place: Place, client: TestClient) -> None:
    recorded = analysed_study(place.database, place.objects)
    for _ in range(3):
        assert client.get(f"/jobs/{recorded.job_id}/overlays/{recorded.overlay}.png").status_code == 200
    seen = client.get("/api/studies/1/sightings").json()
    assert [(one["what"], one["times"]) for one in seen if one["who"] == "web/testclient"] == [("picture", 1)]


def test_what_is_asked_is_on_record_without_the_words_and_the_patient(place: Place) -> None:
    analysed_study(place.database, place.objects)
    query(place, "--text", f"smith {PATIENT}", "--patient", PATIENT, "--action", "job:")
    found = query(place, "--action", "audit:queried")
    assert isinstance(found, dict)
    (asked,) = [event for event in found["events"] if "action=job:" in event["details"]["filters"]]
    assert "words=2" in asked["details"]["filters"]
    assert asked["actor"].startswith("cli:")
    assert "smith" not in json.dumps(asked)
    assert PATIENT not in json.dumps(asked)


def test_reading_at_the_command_line_is_on_record_too(place: Place) -> None:
    analysed_study(place.database, place.objects)
    assert oncue("studies", "show", 1, "--state", place.state).code == 0
    out = place.state / "explained"
    assert oncue("studies", "explain", 1, "--out", out, "--state", place.state).code == 0
    seen = oncue("audit", "who-saw", 1, "--json", "--state", place.state).json
    assert {one["what"] for one in seen if one["who"].startswith("cli:")} == {"record", "export"}


def test_a_page_out_of_the_blue_is_on_record_and_the_next_page_of_a_visit_is_not(
    place: Place, client: TestClient
) -> None:
    def asked() -> list[str]:
        with place.database.read() as session:
            return [event.actor for event in audit.history(session, tag="audit:queried")]

    failed_study(place.database)
    made_up = "9999-01-01T00:00:00.000000+00:00~0"
    assert client.get("/api/audit", params={"limit": 2, "after": made_up}).json()["events"]
    assert len(asked()) == 1
    cursor = client.get("/api/audit", params={"limit": 2, "action": "study:"}).json()["cursor"]
    client.get("/api/audit", params={"limit": 2, "action": "study:", "after": cursor})
    assert len(asked()) == 2
    oncue("audit", "list", "--after", 0, "--state", place.state)
    oncue("audit", "list", "--after", 2, "--state", place.state)
    query(place, "--action", "job:", "--after", made_up)
    assert len(asked()) == 4
