"""What the console lets whom do, as a browser and as a program meet it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from console.access.attempts import MOST_WRONG
from console.app import create_app
from console.config import ConsoleSettings
from storage import audit, console_tokens
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.records import analysed_study
from tests.support.tokens import bearer, new_token

ORIGIN = {"Origin": "http://127.0.0.1"}
CHANGES = (
    ("POST", "/studies/1/read"),
    ("POST", "/studies/1/unread"),
    ("POST", "/api/studies/1/read"),
    ("POST", "/api/studies/1/opened"),
    ("DELETE", "/api/studies/1/read"),
    ("POST", "/api/studies/1/parametric-map/deliveries"),
    ("POST", "/api/classification/tasks/x/adapters"),
    ("POST", "/api/classification/tasks/x/adapters/1/evaluations"),
    ("POST", "/api/classification/tasks/x/promotions"),
    ("POST", "/api/classification/tasks/x/rollbacks"),
    ("POST", "/dicom-web/workitems"),
    ("POST", "/dicom-web/workitems/1.2"),
    ("PUT", "/dicom-web/workitems/1.2/state"),
    ("POST", "/dicom-web/workitems/1.2/cancelrequest"),
    ("POST", "/dicom-web/studies"),
    ("POST", "/dicom-web/studies/1.2"),
)
READING = (
    "/",
    "/waiting",
    "/urgent",
    "/studies/1",
    "/audit",
    "/api/studies",
    "/api/triage/pending",
    "/api/triage/times",
    "/api/audit",
    "/api/openapi.json",
    "/nowhere",
)
Opens = Callable[..., TestClient]


@pytest.fixture
def opens(place: Place) -> Iterator[Opens]:
    """Return what opens clients of an application with the settings that it is given."""
    analysed_study(place.database, place.objects)
    with ExitStack() as stack:

        def opened(base_url: str = "http://127.0.0.1", address: str = "127.0.0.1", **settings: object) -> TestClient:
            app = create_app(place.database, place.objects, ConsoleSettings.model_validate(settings))
            client = TestClient(app, base_url=base_url, client=(address, 50000), follow_redirects=False)
            return stack.enter_context(client)

        yield opened


def refusals(place: Place) -> list[str]:
    with place.database.read() as session:
        events = audit.history(session, tag="user:login-refused")
    return [json.loads(event.details)["code"] for event in events]


def test_every_route_that_changes_something_is_among_those_that_are_tried_here(opens: Opens) -> None:
    paths = opens().get("/api/openapi.json").json()["paths"]
    writes = {(method.upper(), path) for path, methods in paths.items() for method in methods if method != "get"}
    tried = {path.format(study_id=1, name="x", adapter_id=1, uid="1.2") for _, path in writes}
    assert tried - {path for _, path in CHANGES} == {"/api/audit/patient-key"}


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_nothing_is_changed_without_a_token(place: Place, opens: Opens, method: str, path: str) -> None:
    client = opens()
    with place.database.read() as session:
        before = audit.count(session)
    answer = client.request(method, path, headers=ORIGIN)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="oncue"')
    assert "token_missing" in answer.text
    wrong = client.request(method, path, headers=bearer("oncue_" + "x" * 43))
    assert (wrong.status_code, "token_unknown" in wrong.text) == (401, True)
    assert refusals(place) == ["token_missing", "token_unknown"]
    with place.database.read() as session:
        assert audit.count(session) == before + 2
    assert client.get("/api/worklist").json()[0]["unread"] is True


def test_a_token_names_who_acts(place: Place, opens: Opens) -> None:
    answer = opens().post("/api/studies/1/read", headers=bearer(new_token(place.database, "anna")))
    assert answer.json()["read_by"] == "web/anna"
    with place.database.read() as session:
        (event,) = audit.history(session, tag="study:read-marked")
        (token,) = console_tokens.listed(session)
    assert event.actor == "web/anna"
    assert token.used_at is not None


def test_a_token_is_refused_with_the_request_after_it_was_revoked_or_expired(place: Place, opens: Opens) -> None:
    client, secret = opens(), new_token(place.database, "anna")
    old = new_token(place.database, "old", expires_at=utc_now() - timedelta(seconds=1))
    assert client.post("/api/studies/1/read", headers=bearer(secret)).status_code == 200
    with place.database.write() as session:
        console_tokens.revoke(session, "anna", actor="cli:root", now=utc_now())
    codes = [client.post("/api/studies/1/read", headers=bearer(one)).json()["code"] for one in (secret, old)]
    assert codes == refusals(place) == ["token_revoked", "token_expired"]


def test_whoever_guesses_waits_and_those_who_are_signed_in_do_not(place: Place, opens: Opens) -> None:
    client, known, other = opens(), new_token(place.database, "known"), new_token(place.database, "other")
    assert client.get("/api/studies", headers=bearer(known)).status_code == 200
    for number in range(MOST_WRONG):
        assert client.get("/api/studies", headers=bearer(f"guess {number}")).status_code == 401
    limited = client.get("/api/studies", headers=bearer("one more"))
    assert (limited.status_code, limited.json()["code"]) == (429, "too_many_attempts")
    assert 0 < int(limited.headers["retry-after"]) <= 60
    assert client.get("/api/studies", headers=bearer(other)).status_code == 429
    page = client.post("/sign-in", data={"token": other, "next": "/"}, headers=ORIGIN)
    assert (page.status_code, "too_many_attempts" in page.text) == (429, True)
    assert client.get("/api/studies", headers=bearer(known)).status_code == 200
    assert client.get("/api/studies").status_code == 200
    assert refusals(place) == ["token_unknown", "too_many_attempts"]


@pytest.mark.parametrize(
    "opened",
    [
        {"read_with_token": True},
        {"host": "0.0.0.0", "allow_remote": True},  # noqa: S104 - nothing is bound
        {"address": "10.0.0.7"},
        {"base_url": "http://pacs.example", "allowed_hosts": ("pacs.example",)},
    ],
    ids=["setting", "bound elsewhere", "passed on from another machine", "asked for by a name of the network"],
)
def test_away_from_loopback_reading_needs_a_token_too(place: Place, opens: Opens, opened: dict[str, object]) -> None:
    client = opens(**opened)
    signed = bearer(new_token(place.database))
    for path in READING:
        refused = client.get(path)
        if path.startswith("/api"):
            assert (refused.status_code, refused.json()["code"]) == (401, "token_missing")
        else:
            assert (refused.status_code, refused.headers["location"].startswith("/sign-in?next=%2F")) == (303, True)
        assert client.get(path, headers=signed).status_code in (200, 404)
    assert client.post("/api/audit/patient-key", json={"patient": "X"}).status_code == 401
    assert client.post("/audit/question", data={"study": "1"}).status_code == 401
    for path in ("/healthz", "/static/console.css", "/sign-in"):
        assert client.get(path).status_code == 200
    assert refusals(place) == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1:80/static/", "127.0.0.1:80/sign-in?", "127.0.0.1:80/static/#", "localhost:x"]
)
def test_a_host_header_does_not_lead_past_the_guard(opens: Opens, host: str) -> None:
    client = opens()
    for method, path in (*CHANGES, ("GET", "/api/studies")):
        assert client.request(method, path, headers={"Host": host}).status_code in (400, 401)
    assert client.get("/api/worklist").json()[0]["unread"] is True


def test_on_loopback_questions_are_asked_without_a_token(opens: Opens) -> None:
    client = opens()
    assert client.post("/api/audit/patient-key", json={"patient": "X"}).status_code == 200
    assert client.post("/audit/question", data={"study": "1"}).headers["location"] == "/audit?study=1"


def test_a_long_form_is_refused_before_it_is_read(opens: Opens) -> None:
    client = opens()
    for path in ("/audit/question", "/sign-in"):
        assert client.post(path, content=b"x=" + b"1" * 20_000, headers=ORIGIN).status_code == 413
