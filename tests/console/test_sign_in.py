"""Signing in and out over HTTP; what a person sees of it is in test_browser.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import audit, console_tokens
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.records import analysed_study
from tests.support.tokens import new_token

ORIGIN = {"Origin": "http://127.0.0.1"}


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    analysed_study(place.database, place.objects)
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as opened:
        yield opened


def test_a_cookie_stands_for_the_token_and_is_of_no_use_to_scripts_and_other_sites(
    place: Place, client: TestClient
) -> None:
    secret = new_token(place.database)
    answer = client.post("/sign-in", data={"token": f" {secret} ", "next": "/studies/1"}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/studies/1")
    cookie = answer.headers["set-cookie"]
    assert secret not in cookie
    for wanted in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert wanted in cookie
    assert "Secure" not in cookie
    page = client.get("/studies/1").text
    assert "Signed in as <strong>anna</strong>" in page
    assert 'action="/studies/1/read"' in page
    assert client.post("/studies/1/read", headers=ORIGIN).headers["location"] == "/"
    assert "Read by web/anna" in client.get("/studies/1").text
    with place.database.read() as session:
        assert "study:read" in {event.tag for event in audit.latest(session) if event.actor == "web/anna"}


def test_a_change_by_cookie_must_come_from_a_page_of_ours(place: Place, client: TestClient) -> None:
    client.post("/sign-in", data={"token": new_token(place.database)}, headers=ORIGIN)
    for headers in ({}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9"}, {"Sec-Fetch-Site": "same-site"}):
        for path in ("/studies/1/read", "/api/studies/1/read"):
            answer = client.post(path, headers=headers)
            assert (answer.status_code, "foreign_origin" in answer.text) == (403, True)
    assert client.get("/api/worklist").json()[0]["unread"] is True
    assert client.post("/api/studies/1/read", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_signing_out_ends_the_session_and_not_only_the_cookie(place: Place, client: TestClient) -> None:
    client.post("/sign-in", data={"token": new_token(place.database)}, headers=ORIGIN)
    kept = dict(client.cookies)
    answer = client.post("/sign-out", headers=ORIGIN)
    assert (answer.status_code, dict(client.cookies)) == (303, {})
    client.cookies.update(kept)
    assert client.post("/studies/1/read", headers=ORIGIN).status_code == 401
    assert "Signed in" not in client.get("/studies/1").text


def test_a_revoked_token_signs_its_browsers_out(place: Place, client: TestClient) -> None:
    client.post("/sign-in", data={"token": new_token(place.database)}, headers=ORIGIN)
    with place.database.write() as session:
        console_tokens.revoke(session, "anna", actor="cli:root", now=utc_now())
    assert client.post("/studies/1/read", headers=ORIGIN).status_code == 401


def test_signing_in_again_ends_the_session_that_the_browser_had(place: Place, client: TestClient) -> None:
    client.post("/sign-in", data={"token": new_token(place.database)}, headers=ORIGIN)
    before = dict(client.cookies)
    client.post("/sign-in", data={"token": new_token(place.database, "ben")}, headers=ORIGIN)
    assert "Signed in as <strong>ben</strong>" in client.get("/").text
    client.cookies.clear()
    client.cookies.update(before)
    assert "Signed in" not in client.get("/").text


def test_a_wrong_token_is_told_on_the_page_and_signs_nobody_in(place: Place, client: TestClient) -> None:
    for wrong in ("", "oncue_x", "\x00", "ü"):
        answer = client.post("/sign-in", data={"token": wrong, "next": "/audit"}, headers=ORIGIN)
        assert (answer.status_code, "token_unknown" in answer.text) == (401, True)
        assert 'name="next" value="/audit"' in answer.text
        assert "set-cookie" not in answer.headers
    with place.database.read() as session:
        assert len(audit.history(session, tag="user:login-refused")) == 1


@pytest.mark.parametrize(
    "onwards",
    ["//evil.example", "https://evil.example", "/\\evil.example", "", "/\n/evil", "javascript:x", "/sign-out"],
)
def test_signing_in_leads_to_no_other_site(place: Place, client: TestClient, onwards: str) -> None:
    form = {"token": new_token(place.database), "next": onwards}
    assert client.post("/sign-in", data=form, headers=ORIGIN).headers["location"] == "/"
    assert 'name="next" value="/"' in client.get("/sign-in", params={"next": onwards}).text


def test_a_page_of_another_site_cannot_sign_a_browser_in(place: Place, client: TestClient) -> None:
    answer = client.post(
        "/sign-in", data={"token": new_token(place.database)}, headers={"Origin": "http://evil.example"}
    )
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_over_tls_the_cookie_is_for_tls_alone_and_each_port_has_its_own(place: Place) -> None:
    app = create_app(place.database, place.objects, ConsoleSettings())
    form = {"token": new_token(place.database)}
    with TestClient(app, base_url="https://127.0.0.1:8443", follow_redirects=False) as client:
        answer = client.post("/sign-in", data=form, headers={"Origin": "https://127.0.0.1:8443"})
    assert answer.headers["set-cookie"].startswith("oncue_session_8443=")
    assert "Secure" in answer.headers["set-cookie"]
