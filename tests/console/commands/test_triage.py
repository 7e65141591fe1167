"""Policies from the command line: checked, tried, promoted and retired, each with a name and a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage import audit
from storage.triage import policies
from storage.triage.policy_file import load_policy
from tests.console.conftest import Place
from tests.support.commands import Ran, oncue

WHO = ("--by", "Dr. Jones", "--reason", "agreed on 12 March")
NIGHT = """
time_zone = "Europe/Berlin"
[default]
name = "quiet"
priority = "ROUTINE"
[[rules]]
name = "emergency at night"
setting = "emergency"
between = "18:00-07:00"
priority = "STAT"
"""


def ask(place: Place, *words: object) -> Ran:
    return oncue("triage", *words, "--state", place.state)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    path = tmp_path / "night.toml"
    path.write_text(NIGHT)
    return path


def live(place: Place) -> str:
    with place.database.read() as session:
        return policies.in_force(session).live.name


def test_a_policy_goes_from_trial_to_promotion_to_retirement(anywhere: Place, night: Path) -> None:
    assert "no policy is on record yet" in ask(anywhere, "list").out
    checked = ask(anywhere, "check", night, "--json").json
    assert (checked["name"], checked["rules"], checked["refused"], checked["warnings"]) == ("night", 1, [], [])
    tried = ask(anywhere, "shadow", night, *WHO)
    assert (tried.code, "is tried beside the one that decides" in tried.out) == (0, True), tried.err
    assert live(anywhere) == "shipped"
    assert "none is promoted" in ask(anywhere, "list").out
    promoted = ask(anywhere, "promote", "night", *WHO, "--json")
    assert [one["state"] for one in promoted.json] == ["live"]
    assert live(anywhere) == "night"
    (form,) = ask(anywhere, "list", "--json").json
    assert (form["changed_by"], form["reason"]) == ("Dr. Jones", "agreed on 12 March")
    assert ask(anywhere, "retire", "night", *WHO).out.endswith("is retired\n")
    assert live(anywhere) == "shipped"
    with anywhere.database.read() as session:
        tags = [one.tag for one in audit.history(session) if one.tag.startswith("triage:")]
    assert tags == ["triage:shadowed", "triage:promoted", "triage:retired"]


def test_what_a_policy_says_is_shown_as_it_was_written(place: Place, night: Path) -> None:
    assert "has not decided yet" in ask(place, "show").err
    assert ask(place, "promote", night, "--name", "late", *WHO).code == 0
    shown = ask(place, "show")
    assert NIGHT.strip() in shown.out
    assert "# policy late, live" in shown.out
    form = ask(place, "show", "late", "--json").json
    assert form["rules"][0]["conditions"] == {"setting": ["emergency"], "between": "18:00-07:00"}
    assert (form["time_zone"], form["default"]["name"]) == ("Europe/Berlin", "quiet")


def test_the_former_policy_is_kept_as_a_shadow_where_asked(place: Place, night: Path) -> None:
    other = night.with_name("day.toml")
    other.write_text('[default]\nname = "by day"\npriority = "LOW"\n')
    assert ask(place, "promote", night, *WHO).code == 0
    assert ask(place, "promote", other, "--keep-as-shadow", *WHO).code == 0
    assert [(one["name"], one["state"]) for one in ask(place, "list", "--json").json] == [
        ("day", "live"),
        ("night", "shadow"),
    ]


def test_a_contradiction_is_refused_with_line_and_rule(place: Place, night: Path) -> None:
    night.write_text(NIGHT + "minimum_confidence = 0.9\nmaximum_confidence = 0.1\n")
    for words in (("check", night), ("shadow", night, *WHO), ("promote", night, *WHO)):
        ran = ask(place, *words)
        assert ran.code == 1
        assert (
            "error [policy_invalid]: night.toml: rule 1 «emergency at night» (line 11), minimum_confidence" in ran.err
        )
    assert live(place) == "shipped"


def test_unknown_codes_labels_and_routes_are_refused(place: Place, night: Path) -> None:
    night.write_text(NIGHT + 'concept = "4711"\nlabel = "tumor"\nroute = "head-mri"\n')
    checked = ask(place, "check", night)
    assert (checked.code, checked.out.count("refused: rule «emergency at night» (line 1")) == (1, 3)
    promoted = ask(place, "promote", night, *WHO)
    assert (promoted.code, "(line 11), concept" in promoted.err) == (1, True)
    assert ask(place, "list", "--json").json == []


def test_nobody_promotes_without_a_name_and_a_reason(place: Place, night: Path) -> None:
    assert "--reason" in ask(place, "promote", night, "--by", "me").err
    empty = ask(place, "promote", night, "--by", "me", "--reason", " ")
    assert (empty.code, "error [policy_invalid]" in empty.err) == (1, True)


def test_what_is_not_there_is_told(place: Place, tmp_path: Path) -> None:
    assert "error [record_missing]: there is no policy 'night' on record" in ask(place, "promote", "night", *WHO).err
    assert "error [policy_invalid]" in ask(place, "check", tmp_path / "none.toml").err
    assert "error [record_missing]" in ask(place, "retire", "night", *WHO).err


def test_the_shipped_policy_is_sound_here(place: Place, tmp_path: Path) -> None:
    copy = tmp_path / "site.toml"
    copy.write_text(load_policy().content)
    checked = ask(place, "check", copy)
    assert (checked.code, "is sound" in checked.out) == (0, True)


def test_a_peer_says_where_its_patients_are_cared_for(place: Place) -> None:
    added = oncue("peers", "add", "er", "--aet", "ER_CT", "--setting", "emergency", "--state", place.state)
    assert added.code == 0, added.err
    (form,) = json.loads(oncue("peers", "list", "--json", "--state", place.state).out)
    assert form["care_setting"] == "emergency"
    wrong = oncue("peers", "add", "x", "--aet", "X", "--setting", "hospice", "--state", place.state)
    assert "emergency, inpatient, outpatient" in wrong.err
