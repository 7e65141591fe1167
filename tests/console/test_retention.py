"""Retention as people meet it: commands, pages, the API and the doctor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from console.app import create_app
from console.config import ConsoleSettings
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.retained import Kept

RULES = """
[[retention.rules]]
name = "keep-stat"
delete = ["images", "results", "pictures"]
priorities = ["STAT"]
keep = true

[[retention.rules]]
name = "month"
delete = ["images", "results", "pictures"]
older_than_days = 30
delivered = "sent"
"""


@pytest.fixture
def kept(place: Place) -> Kept:
    (place.state / "oncue.toml").write_text(RULES)
    return Kept(place.database, place.objects)


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    app = create_app(place.database, place.objects, ConsoleSettings())
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def test_a_plan_says_what_goes_and_what_stays_and_a_round_does_so(place: Place, kept: Kept) -> None:
    kept.sent(1)
    kept.sent(2)
    kept.analysed(3)
    said = oncue("studies", "keep", "2", "--by", "anna", "--reason", "teaching case", "--state", place.state)
    assert (said.code, said.out) == (0, "study 2 is kept\n")
    assert oncue("studies", "keep", "2", "--reason", "again", "--state", place.state).code == 1
    kept.age_all()
    images, results, _ = oncue("retention", "plan", "--state", place.state, "--json").json
    assert (images["rule"], images["kind"], images["studies"], images["files"]) == ("month", "images", 1, 2)
    assert {one["why"]: one["examples"] for one in results["kept"]} == {
        "kept_by_a_person": [2],
        "delivery_on_its_way": [3],
    }
    assert "delivery_on_its_way" in oncue("retention", "plan", "--state", place.state).out
    before = kept.files()
    (done,) = oncue("retention", "run", "--state", place.state, "--json").json
    assert (done["studies"], done["files"]) == (3, len(before) - len(kept.files()))
    assert oncue("retention", "run", "--state", place.state).out.startswith("0 deletions put on record")
    assert oncue("studies", "keep", "2", "--undo", "--by", "anna", "--state", place.state).code == 0
    tags = [event["tag"] for event in oncue("audit", "list", "--state", place.state, "--json", "--limit", 500).json]
    assert {"study:kept", "study:let-go", "study:images-deleted"} <= set(tags)
    assert "teaching case" not in oncue("audit", "list", "--state", place.state, "--json", "--limit", 500).out


def test_the_page_and_the_command_say_what_was_deleted(place: Place, kept: Kept, client: TestClient) -> None:
    kept.sent(1)
    assert "<img" in client.get("/studies/1").text
    kept.age_all()
    oncue("retention", "run", "--state", place.state)
    page = client.get("/studies/1").text
    today = f"{utc_now():%Y-%m-%d}"
    assert f"<strong>Images deleted</strong> on {today}" in page
    assert "by rule month: 2 files" in page
    assert "<img" not in page
    shown = client.get("/api/studies/1").json()
    assert {one["kind"]: one["rule"] for one in shown["deletions"]} == dict.fromkeys(
        ("images", "results", "pictures"), "month"
    )
    assert shown["result"]["findings"] != []
    text = oncue("studies", "show", "1", "--state", place.state).out
    assert f"on {today}" in text
    assert "images deleted" in text
    digest = shown["result"]["overlays"][0]
    gone = client.get(digest, headers={"accept": "application/json"})
    assert gone.status_code == 410


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("jobs", "retry", "1"), "images_deleted"),
        (("deliveries", "retry", "1"), "results_deleted"),
        (("studies", "explain", "1", "--out", "{out}"), "pictures_deleted"),
        (("studies", "parametric-map", "1", "--out", "{out}"), "results_deleted"),
    ],
)
def test_a_command_on_what_was_deleted_ends_with_a_code(
    place: Place, kept: Kept, tmp_path: Path, command: tuple[str, ...], code: str
) -> None:
    kept.sent(1)
    kept.age_all()
    oncue("retention", "run", "--state", place.state)
    ran = oncue(*(part.format(out=tmp_path / "out") for part in command), "--state", place.state)
    assert ran.code == 1
    assert ran.err.startswith(f"error [{code}]: ")
    assert "by rule month" in ran.err


def test_rules_are_listed_in_their_order(place: Place, kept: Kept) -> None:
    assert kept.files() == set()
    listed = oncue("retention", "list", "--state", place.state, "--json").json
    assert [rule["name"] for rule in listed] == ["keep-stat", "month"]
    out = oncue("retention", "list", "--state", place.state).out
    assert "30 days after last image, once sent" in out
    assert "the gateway deletes nothing" in out


def test_a_rule_that_contradicts_itself_is_named(place: Place) -> None:
    (place.state / "oncue.toml").write_text(
        '[[retention.rules]]\nname = "all"\ndelete = ["images"]\nstates = ["held"]\nolder_than_days = 1\n'
    )
    ran = oncue("retention", "list", "--state", place.state)
    assert ran.code == 1
    assert "retention.rules (file, 1): rule all: nothing is ever deleted of a study that is held" in ran.err


def test_a_study_is_kept_with_a_reason_or_let_go(place: Place, kept: Kept) -> None:
    kept.sent(1)
    assert oncue("studies", "keep", "1", "--state", place.state).code == 2
    assert oncue("studies", "keep", "1", "--undo", "--reason", "x", "--state", place.state).code == 2
    assert oncue("studies", "keep", "1", "--undo", "--state", place.state).err.startswith("error [record_missing]")


def test_the_doctor_says_how_the_disk_fills_and_what_rules_would_free(place: Place, kept: Kept) -> None:
    kept.sent(1)
    (found,) = oncue("doctor", "--only", "retention", "--state", place.state, "--json").json
    assert "MB received" in found["detail"]
    assert "the rules would free" in found["detail"]
    assert "retention.enabled is not set" in found["detail"]
    (place.state / "oncue.toml").write_text(RULES.replace("\n[[", "\n[retention]\nenabled = true\n[[", 1))
    found, late = oncue("doctor", "--only", "retention", "--state", place.state, "--json").json
    assert "no round has ended yet" in late["detail"]
    kept.retention(now=utc_now()).run(most_files=1)
    assert len(oncue("doctor", "--only", "retention", "--state", place.state, "--json").json) == 1
