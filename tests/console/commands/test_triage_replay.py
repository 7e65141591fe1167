from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import update

from storage.result_tables import AnalysisRow
from storage.triage.policy import Policy
from storage.triage.policy_file import parse_policy
from tests.console.conftest import Place
from tests.support.commands import oncue
from tests.support.documents import DOCS
from tests.support.triage_history import drawn_studies, put_on_trial, record_history

CALM = """
[default]
name = "the rest"
priority = "ROUTINE"

[[rules]]
name = "sure and large"
presence = "present"
minimum_confidence = 0.8
minimum_volume_ml = 2.0
priority = "STAT"

[[rules]]
name = "huge, and in batch work"
presence = "present"
minimum_volume_ml = 100000.0
lane = "batch"
priority = "HIGH"
"""


@pytest.fixture
def calm(tmp_path: Path) -> Path:
    path = tmp_path / "calm.toml"
    path.write_text(CALM)
    return path


def policy_of(path: Path) -> Policy:
    return parse_policy(path.read_bytes(), name=path.name)


def test_a_thousand_studies_are_replayed_with_tables_and_a_picture(anywhere: Place, calm: Path, tmp_path: Path) -> None:
    record_history(anywhere.database, anywhere.objects, drawn_studies(1000))
    asked = ("triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", anywhere.state)
    found = oncue(*asked, "--readers", 1, "--minutes-per-study", 35, "--json").json
    assert (found["analyses"], found["studies"], found["unreadable"]) == (1000, 1000, 0)
    assert found["up"] + found["down"] + found["unchanged"] == 1000
    assert sum(move["analyses"] for move in found["moved"]) == 1000
    assert (found["before"], found["after"]["name"]) == ({"name": "as decided", "sha256": None}, "calm")
    assert found["after"]["sha256"] == policy_of(calm).sha256
    assert found["never_held"] == ["huge, and in batch work"]
    assert found["model"] == {"readers": 1, "minutes_per_study": 35, "load": pytest.approx(0.81, abs=0.03)}
    assert len(found["days"]) == 30
    first_come, by_priority = found["waiting_first_come"]["positive"], found["waiting_before"]["positive"]
    assert 0 < by_priority["median_minutes"] < first_come["median_minutes"]

    told = oncue(*asked, "--plot", tmp_path / "replay.png")
    assert told.code == 0
    assert "«calm» instead of «as decided», since 2026-03-01T00:00 UTC" in told.out
    assert f"1000 analyses of 1000 studies: {found['up']} more urgent, {found['down']} less urgent" in told.out
    assert "never held in «calm»: huge, and in batch work" in told.out
    assert "first come, first read" in told.out
    assert "The model: studies come when they came" in told.out
    with Image.open(tmp_path / "replay.png") as image:
        assert image.format == "PNG"


def test_the_example_of_the_documentation_is_what_a_replay_writes(place: Place, tmp_path: Path) -> None:
    record_history(place.database, place.objects, drawn_studies(1000))
    part = (DOCS / "triage.md").read_text().partition("\n## Replay\n")[2]
    policy, told = (part.partition(f"```{kind}\n")[2].partition("```")[0] for kind in ("toml", "text"))
    (tmp_path / "example.toml").write_text(policy)
    asked = ("triage", "replay", "--policy", tmp_path / "example.toml", "--since", "2026-03-01", "--state", place.state)
    ran = oncue(*asked, "--readers", 1, "--minutes-per-study", 35)
    written = [line.rstrip() for line in ran.out.splitlines()]
    assert [line for line in told.splitlines() if line not in written] == []


def test_a_policy_is_held_against_the_one_in_force_or_that_of_a_file(
    place: Place, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_history(place.database, place.objects, drawn_studies(60))
    other = tmp_path / "other.toml"
    other.write_text(CALM.replace("0.8", "0.5"))
    asked = ("triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", place.state, "--json")
    assert oncue(*asked, "--against", "live").json["before"]["name"] == "shipped"
    assert oncue(*asked, "--against", "live").json["moved"] == oncue(*asked).json["moved"]
    against = oncue(*asked, "--against", other).json
    assert against["before"] == {"name": "other", "sha256": policy_of(other).sha256}
    monkeypatch.setenv("ONCUE_WORKER_POLICY", str(other))
    assert oncue(*asked, "--against", "live").json["before"] == against["before"]


def test_two_policies_of_one_name_are_told_apart_by_their_digests(place: Place, calm: Path, tmp_path: Path) -> None:
    record_history(place.database, place.objects, drawn_studies(20))
    (tmp_path / "older").mkdir()
    older = tmp_path / "older" / "calm.toml"
    older.write_text(CALM.replace("0.8", "0.5"))
    asked = ("triage", "replay", "--policy", calm, "--against", older, "--since", "2026-03-01", "--state", place.state)
    found = oncue(*asked, "--json").json
    assert found["after"]["name"] == f"calm {policy_of(calm).sha256[:12]}"
    assert found["before"]["name"] == f"calm {policy_of(older).sha256[:12]}"


def test_the_end_of_a_span_is_not_in_it(place: Place, calm: Path) -> None:
    studies = drawn_studies(200)
    record_history(place.database, place.objects, studies)
    asked = ("triage", "replay", "--policy", calm, "--since", "2026-03-03", "--state", place.state, "--json")
    inside = sum(study.analysed_at.day in (3, 4) for study in studies)
    assert oncue(*asked, "--until", "2026-03-05").json["analyses"] == inside > 0


def test_a_history_without_decisions_is_told_and_not_drawn(place: Place, calm: Path, tmp_path: Path) -> None:
    picture = tmp_path / "replay.png"
    ran = oncue(
        "triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", place.state, "--plot", picture
    )  # fmt: skip # reads by its lines
    assert ran.code == 0
    assert "nothing was decided since 2026-03-01T00:00 UTC that could be decided again" in ran.out
    assert "there is nothing to draw" in ran.out
    assert not picture.exists()


def test_what_could_not_be_decided_is_told(place: Place, calm: Path) -> None:
    record_history(place.database, place.objects, drawn_studies(10))
    with place.database.write() as session:
        session.execute(update(AnalysisRow).where(AnalysisRow.job_id == 10_003).values(policy_inputs="{}"))
    told = oncue("triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", place.state)
    assert "1 analyses keep no inputs that can be read, and are left out" in told.out


def test_readers_that_cannot_keep_up_are_told(place: Place, calm: Path) -> None:
    record_history(place.database, place.objects, drawn_studies(300))
    asked = ("triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", place.state)
    told = oncue(*asked, "--readers", 1, "--minutes-per-study", 600)
    assert "more comes than they can read" in told.out


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("--since", "2026-03-02", "--until", "2026-03-01"), 2, "--until is not after --since"),
        (("--since", "yesterday"), 2, "or a span before now (12h, 7d, 4w)"),
        (("--since", "2026-03-01", "--plot", "replay.jpg"), 2, "writes PNG"),
        (("--since", "2026-03-01", "--plot", "nowhere/replay.png"), 1, "error [file_unusable]"),
        (("--since", "2026-03-01", "--readers", "0"), 2, "--readers"),
        (("--since", "2026-03-01", "--minutes-per-study", "0"), 2, "--minutes-per-study"),
        (("--since", "2026-03-01", "--against", "nowhere.toml"), 1, "error [policy_invalid]"),
    ],
)
def test_a_wrong_question_ends_with_one_complaint(
    place: Place, calm: Path, options: tuple[str, ...], code: int, complaint: str
) -> None:
    ran = oncue("triage", "replay", "--policy", calm, "--state", place.state, *options)
    assert ran.code == code
    assert complaint in ran.err
    assert "Traceback" not in ran.err


def test_a_policy_that_is_none_is_named_with_line_and_rule(place: Place, calm: Path) -> None:
    calm.write_text(CALM.replace('priority = "STAT"', 'priority = "AT ONCE"'))
    ran = oncue("triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", place.state)
    assert ran.code == 1
    assert "error [policy_invalid]: calm.toml: rule 1" in ran.err


def test_without_an_installation_nothing_begins(calm: Path, tmp_path: Path) -> None:
    state = tmp_path / "elsewhere"
    ran = oncue("triage", "replay", "--policy", calm, "--since", "2026-03-01", "--state", state)
    assert (ran.code, state.exists()) == (1, False)
    assert "there is no oncue database" in ran.err


def test_a_policy_on_trial_is_compared_by_default_and_one_of_before_by_its_name(place: Place, calm: Path) -> None:
    record_history(place.database, place.objects, drawn_studies(120))
    asked = ("triage", "compare", "--since", "2026-03-01", "--state", place.state, "--json")
    none = oncue(*asked)
    assert (none.code, "no policy is on trial" in none.err) == (1, True)
    put_on_trial(place.database, policy_of(calm), CALM.encode(), name="calm")
    by_default, replayed = oncue(*asked).json, oncue("triage", "replay", "--policy", calm, *asked[2:]).json
    assert by_default == replayed
    assert oncue("triage", "compare", "calm", *asked[2:]).json == replayed
    assert oncue("triage", "replay", "--policy", "calm", *asked[2:]).json == replayed
    later = oncue("triage", "compare", "--since", "2027-03-01", "--state", place.state)
    assert (later.code, "«calm» saw no analysis since 2027-03-01" in later.out) == (0, True)
    eager = CALM.replace("0.8", "0.3").encode()
    put_on_trial(place.database, parse_policy(eager, name="eager"), eager, name="eager")
    several = oncue(*asked)
    assert (several.code, "several policies are on trial (calm, eager)" in several.err) == (1, True)
    assert oncue("triage", "compare", "eager", *asked[2:]).json["after"]["name"] == "eager"
