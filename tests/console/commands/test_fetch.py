"""`oncue fetch`: sources in force without a restart, and what people ask for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from tests.support.commands import oncue
from tests.support.find_scp import find_scp
from tests.support.peers import free_port


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path) -> Path:
    shutil.copy(sqlite_template, tmp_path / "oncue.sqlite")
    return tmp_path


def _answers(_query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
    for number in range(3):
        found = Dataset()
        found.StudyInstanceUID, found.StudyDate = f"1.2.{number}", f"2025010{number + 1}"
        yield 0xFF00, found


def test_a_source_is_added_changed_paused_and_removed(state: Path) -> None:
    added = oncue("fetch", "sources", "add", "pacs", "PACS@127.0.0.1:104", "--every", "10m", "--state", state, "--json")
    assert added.json[0]["every_seconds"] == 600
    assert added.json[0]["way"] == "move"
    assert oncue("fetch", "sources", "change", "pacs", "--filter", "StudyDate=-2d..", "--state", state).code == 0
    assert oncue("fetch", "sources", "pause", "pacs", "--state", state).code == 0
    (listed,) = oncue("fetch", "sources", "list", "--state", state, "--json").json
    assert (listed["filter"], listed["paused"]) == ({"StudyDate": "-2d.."}, True)
    assert "paused" in oncue("fetch", "sources", "list", "--state", state).out
    assert oncue("fetch", "sources", "remove", "pacs", "--state", state).code == 0
    assert "no source" in oncue("fetch", "sources", "list", "--state", state).out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sources", "add", "pacs", "nowhere"), "fetch_source_invalid"),
        (("sources", "change", "gone", "--every", "10m"), "record_missing"),
        (("study", "not-a-uid", "--from", "gone"), "question_invalid"),
        (("study", "1.2.3", "--from", "gone"), "record_missing"),
        (("now", "gone"), "record_missing"),
        (("retry", "gone"), "record_missing"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_1(state: Path, words: tuple[str, ...], code: str) -> None:
    ran = oncue("fetch", *words, "--state", state)
    assert (ran.code, ran.out) == (1, "")
    assert f"[{code}]" in ran.err


def test_the_latest_studies_of_a_patient_are_wanted_and_the_id_is_in_no_event(state: Path) -> None:
    with find_scp(_answers) as source:
        assert oncue("fetch", "sources", "add", "pacs", source, "--way", "get", "--state", state).code == 0
        ran = oncue("fetch", "patient", "--from", "pacs", "--patient", "ID-77", "--most", 2, "--state", state, "--json")
    assert ran.json["wanted"] == ["1.2.2", "1.2.1"]
    (newest, older) = oncue("fetch", "list", "--state", state, "--json").json
    assert (newest["state"], older["here"], older["is_prior"]) == ("settling", 0, False)
    assert "ID-77" not in oncue("audit", "query", "--state", state, "--format", "json").out


def test_a_source_is_tried_without_fetching(state: Path) -> None:
    with find_scp(_answers) as source:
        assert oncue("fetch", "sources", "add", "pacs", source, "--way", "get", "--state", state).code == 0
        assert "3 studies" in oncue("fetch", "sources", "test", "pacs", "--state", state).out
        assert "3 studies are wanted" in oncue("doctor", "--only", "fetching", "--state", state).out
    gone = oncue("fetch", "sources", "change", "pacs", "--address", f"GONE@127.0.0.1:{free_port()}", "--state", state)
    assert gone.code == 0
    ran = oncue("fetch", "sources", "test", "pacs", "--state", state, "--json")
    assert (ran.code, ran.json["code"]) == (1, "source_unreachable")
    assert oncue("fetch", "list", "--state", state, "--json").json == []


def test_one_study_is_wanted_once(state: Path) -> None:
    assert oncue("fetch", "sources", "add", "pacs", "PACS@127.0.0.1:104", "--state", state).code == 0
    assert "is to come" in oncue("fetch", "study", "1.2.3", "--from", "pacs", "--state", state).out
    assert "on its way already" in oncue("fetch", "study", "1.2.3", "--from", "pacs", "--state", state).out
    assert oncue("fetch", "now", "pacs", "--state", state).code == 0


def test_a_paused_source_is_not_waited_for(state: Path) -> None:
    assert oncue("fetch", "sources", "add", "pacs", "PACS@127.0.0.1:104", "--state", state).code == 0
    assert oncue("fetch", "sources", "pause", "pacs", "--state", state).code == 0
    ran = oncue("fetch", "study", "1.2.3", "--from", "pacs", "--wait", "--state", state)
    assert (ran.code, "pacs is paused: oncue fetch sources resume pacs" in ran.out) == (1, True)
