"""Lists on the pages and in the API: pages, filters, counts and the mark of who has read."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from console import views as console_views
from console.app import create_app
from console.config import ConsoleSettings
from storage.domain import Priority
from tests.console.conftest import Place
from tests.support.records import PATIENT, analysed_study, closed_study, failed_study, queued_study
from tests.support.tokens import bearer, new_token


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def test_the_api_gives_lists_page_by_page_and_says_how_long_they_are(place: Place, client: TestClient) -> None:
    for number in range(1, 4):
        analysed_study(place.database, place.objects, number)
    for path in ("/api/worklist", "/api/studies", "/api/jobs", "/api/deliveries"):
        whole = client.get(path).json()
        first = client.get(path, params={"limit": 2})
        assert first.headers["X-Total-Count"] == str(len(whole))
        rest = client.get(f"{path}?after={first.json()[-1]['cursor']}").json()
        assert first.json() + rest == whole
        refused = client.get(path, params={"after": "yesterday"})
        assert (refused.status_code, refused.json()["code"]) == (400, "cursor_invalid")


def test_the_api_filters_and_keeps_patients_out_of_addresses(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects, 1)
    analysed_study(place.database, place.objects, 2, priority=Priority.STAT)
    failed_study(place.database, 3)

    def found(path: str, **headers: str) -> list[int]:
        return [entry["id"] for entry in client.get(path, headers=headers).json()]

    assert found("/api/studies?state=failed") == [3]
    assert found("/api/worklist?priority=STAT") == [2]
    assert found("/api/worklist?since=2026-03-01T12:00:01Z") == []
    assert found("/api/worklist?since=2026-03-01T12:00:00&until=2026-03-01T13:00:00%2B01:00") == [2, 1]
    assert found("/api/studies", **{"X-Patient-ID": PATIENT}) == [3, 2, 1]
    assert found("/api/worklist", **{"X-Accession-Number": "ACC1"}) == [1]
    assert client.get("/api/jobs?state=failed").json()[0]["id"] == 3
    assert client.get("/api/deliveries?state=refused").json() == []


def test_a_study_is_marked_as_read_by_the_api_and_put_back(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects)
    queued_study(place.database, 2)
    client.headers.update(bearer(new_token(place.database, "ris")))
    marked = client.post("/api/studies/1/read", json={"by": "Dr. Jones"}).json()
    assert (marked["unread"], marked["read_by"]) == (False, "web/ris/Dr. Jones")
    assert client.get("/api/worklist").json() == []
    assert [entry["id"] for entry in client.get("/api/worklist?all=true").json()] == [1]
    assert client.delete("/api/studies/1/read").json()["unread"] is True
    assert client.post("/api/studies/1/read").json()["read_by"] == "web/ris"
    assert client.post("/api/studies/1/read", json={"by": "nobody\x00"}).status_code == 422
    assert client.post("/api/studies/2/read").status_code == 409
    assert client.post("/api/studies/9/read").status_code == 404


def test_a_button_marks_a_study_as_read_and_another_puts_it_back(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects)
    client.headers.update(bearer(new_token(place.database)))
    assert 'action="/studies/1/read"' in client.get("/studies/1").text
    answer = client.post("/studies/1/read", headers={"Origin": "http://127.0.0.1"})
    assert answer.url.path == "/"
    assert "Nothing is left to read" in answer.text
    assert 'href="/studies/1"' in client.get("/?all=true").text
    study = client.get("/studies/1").text
    assert "Read by web/anna" in study
    assert 'action="/studies/1/unread"' in study
    assert client.post("/studies/1/unread").url.path == "/studies/1"
    assert 'href="/studies/1"' in client.get("/").text


def test_a_page_of_another_site_marks_nothing(place: Place, client: TestClient) -> None:
    analysed_study(place.database, place.objects)
    for origin in ("https://elsewhere.example", "null"):
        for path in ("/studies/1/read", "/api/studies/1/read"):
            answer = client.post(path, headers={"Origin": origin})
            assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert len(client.get("/api/worklist").json()) == 1


def test_a_full_page_has_a_way_to_the_next(place: Place, client: TestClient) -> None:
    for number in range(1, console_views.PAGE + 3):
        queued_study(place.database, number, images=1)
    first = client.get("/").text
    assert f"{console_views.PAGE} of {console_views.PAGE + 2}" in first
    (following,) = re.findall(r'rel="next" href="(/waiting\?after=[^"]+)"', first)
    second = client.get(following).text
    assert re.findall(r'href="/studies/(\d+)"', second) == ["2", "1"]
    assert 'rel="next"' not in second


def test_the_page_takes_as_many_statements_for_many_studies_as_for_few(place: Place, client: TestClient) -> None:
    sent: list[str] = []
    event.listen(place.database.engine, "before_cursor_execute", lambda _c, _k, statement, *_: sent.append(statement))
    counts = []
    for some in (range(1, 2), range(2, 6)):
        for number in some:
            analysed_study(place.database, place.objects, number)
            queued_study(place.database, 10 + number)
            closed_study(place.database, 20 + number, body_part="KNEE")
        sent.clear()
        assert client.get("/").status_code == 200
        counts.append(len(sent))
    assert counts[0] == counts[1]
