from __future__ import annotations

from pathlib import Path

import pytest

from storage.triage.policy_file import load_policy
from tests.console.conftest import Place
from tests.support.commands import oncue

WHO = ("--by", "Dr. Jones", "--reason", "agreed on 12 March")
QUIET = '[default]\nname = "quiet"\npriority = "LOW"\n'


def examined(place: Place) -> list[tuple[str, str]]:
    parts = oncue("doctor", "--state", place.state, "--json", "--only", "triage").json
    return [(part["verdict"], part["detail"]) for part in parts]


@pytest.fixture
def night(tmp_path: Path) -> Path:
    path = tmp_path / "night.toml"
    path.write_text(QUIET)
    return path


def test_a_file_of_the_settings_that_a_promoted_policy_passes_over_is_named(
    anywhere: Place, night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_WORKER_POLICY", str(night))
    sha256 = load_policy(night).sha256[:12]
    assert examined(anywhere) == [("fine", f"policy night ({sha256}) decides")]
    other = night.with_name("day.toml")
    other.write_text(QUIET.replace("LOW", "ROUTINE"))
    assert oncue("triage", "promote", other, *WHO, "--state", anywhere.state).code == 0
    (fine, _), (remark, told) = examined(anywhere)
    assert (fine, remark) == ("fine", "remark")
    assert told.startswith(f"{night} of worker.policy is passed over, for policy day (")
    assert oncue("triage", "promote", night, *WHO, "--state", anywhere.state).code == 0
    assert examined(anywhere) == [("fine", f"policy night ({sha256}) decides")]


def test_policies_on_trial_are_named_beside_the_one_that_ships(place: Place, night: Path) -> None:
    assert examined(place) == [("fine", f"policy shipped ({load_policy().sha256[:12]}) decides")]
    assert oncue("triage", "shadow", night, *WHO, "--state", place.state).code == 0
    ((verdict, told),) = examined(place)
    assert verdict == "fine"
    assert told.endswith(f"decides, on trial night ({load_policy(night).sha256[:12]})")


def test_a_file_that_is_no_policy_is_a_fault(place: Place, night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCUE_WORKER_POLICY", str(night))
    night.write_text(QUIET.replace("LOW", "SOON"))
    ((verdict, told),) = examined(place)
    assert verdict == "broken"
    assert told.startswith("[policy_invalid]")


def test_a_word_that_nothing_says_any_more_is_named_with_its_rule(
    place: Place, night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.write_text(QUIET + '[[rules]]\nname = "gone"\nconcept = "SCT:1"\npriority = "STAT"\n')
    monkeypatch.setenv("ONCUE_WORKER_POLICY", str(night))
    _, (verdict, told) = examined(place)
    assert verdict == "remark"
    assert "rule «gone» (line 6), concept" in told
