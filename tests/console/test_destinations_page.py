"""The page of destinations: who gets what, and what has not got there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage import destinations
from storage.destinations import DestinationEntry
from storage.domain import ObjectKind
from tests.console.conftest import Place
from tests.support.records import NOW, analysed_study

_SETTING = "ARCHIVE@10.0.0.9:104"


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings(), destinations=(_SETTING,))
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def test_without_destinations_it_says_how_to_add_one(place: Place) -> None:
    with TestClient(
        create_app(place.database, place.objects, ConsoleSettings()), base_url="http://127.0.0.1"
    ) as client:
        assert "oncue destinations add" in client.get("/destinations").text


def test_entries_and_settings_are_shown_with_what_waits(place: Place, client: TestClient) -> None:
    entry = DestinationEntry("pacs", "PACS@10.0.0.8:104", (ObjectKind.SEG, ObjectKind.SR), paused=True)
    with place.database.write() as session:
        destinations.add(session, entry, actor="cli:me", now=NOW)
    analysed_study(place.database, place.objects, 1)  # SEG and SR are on their way to a destination
    page = client.get("/destinations").text
    for wanted in ("pacs", "PACS@10.0.0.8:104", "paused", _SETTING):
        assert wanted in page
    assert page.index("Not sent yet") < page.index("<td>SEG</td>")
    listed = client.get("/api/destinations").json()
    assert [one["name"] for one in listed] == ["pacs", _SETTING]
    assert listed[0]["gets"] == ["SEG", "SR"]
