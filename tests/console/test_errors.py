from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage import migrate
from tests.console.conftest import Place
from tests.support.commands import oncue

LISTINGS = [
    ("studies", "list"),
    ("jobs", "list"),
    ("jobs", "show", "1"),
    ("jobs", "retry", "1"),
    ("deliveries", "list"),
    ("deliveries", "retry", "1"),
    ("worklist",),
    ("audit", "list"),
    ("audit", "query"),
    ("audit", "verify"),
    ("audit", "prove", "1"),
    ("routes", "replay", "--since", "2026-01-01"),
    ("routes", "test", "1"),
    ("support", "list"),
    ("db", "check"),
]


@pytest.mark.parametrize("arguments", LISTINGS, ids=" ".join)
def test_a_folder_without_an_installation_is_one_coded_line_and_stays_empty(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ran = oncue(*arguments, "--state", tmp_path / "nowhere")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error [configuration_error]: there is no oncue database in ")
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_was_not_upgraded_is_named_with_the_command_that_does_it(anywhere: Place) -> None:
    migrate.downgrade(anywhere.database, "0006")
    anywhere.database.dispose()
    # The support set is as it was then, and can be listed.
    for arguments in (one for one in LISTINGS if one != ("support", "list")):
        ran = oncue(*arguments, "--state", anywhere.state)
        assert (arguments, ran.code) == (arguments, 1)
        assert "error [schema_mismatch]: the database is at 0006, this version needs " in ran.err, arguments
        assert "oncue db upgrade" in ran.err


def test_a_file_that_is_no_database_is_one_coded_line(place: Place) -> None:
    place.database.dispose()
    for left in place.state.glob("oncue.sqlite*"):
        left.unlink()
    (place.state / "oncue.sqlite").write_bytes(b"no database" * 1000)
    for arguments in LISTINGS:
        ran = oncue(*arguments, "--state", place.state)
        assert (arguments, ran.code) == (arguments, 1)
        assert ran.err.startswith("error [database_damaged]: "), arguments


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("jobs", "show", "7"), "record_missing"),
        (("jobs", "retry", "7"), "record_missing"),
        (("send", ".", "NOT-A-DESTINATION"), "configuration_error"),
        (("send", ".", "PACS@127.0.0.1:1"), "nothing_to_send"),
    ],
)
def test_each_failure_has_its_code(
    place: Place, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: str
) -> None:
    monkeypatch.chdir(place.state / "objects")
    monkeypatch.setenv("ONCUE_STATE", str(place.state))
    ran = oncue(*arguments)
    assert ran.code == 1
    assert ran.err.startswith(f"error [{code}]: ")


def test_a_wrong_option_is_a_usage_error_with_exit_code_two(place: Place) -> None:
    for arguments in (("jobs", "show"), ("jobs", "show", "x"), ("studies", "list", "--nonsense"), ("nonsense",)):
        ran = oncue(*arguments)
        assert ran.code == 2
        assert "Traceback" not in ran.err
    assert place.state.is_dir()


@pytest.mark.slow
def test_the_installed_command_prints_no_traceback(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "oncue"), "jobs", "list", "--state", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error [configuration_error]: ")
    assert "Traceback" not in ran.stderr


def test_a_process_refuses_a_database_of_another_version(place: Place) -> None:
    from sqlalchemy import text

    with place.database.engine.connect() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        connection.commit()
    for process in ("gateway", "relay", "worker", "console"):
        ran = oncue(process, "--state", place.state)
        assert ran.code == 1
        assert "error [schema_mismatch]: " in ran.err


def test_the_pages_are_not_served_to_the_network_by_accident(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONCUE_CONSOLE_HOST", "0.0.0.0")  # noqa: S104 - what must be refused
    ran = oncue("console", "--state", place.state)
    assert ran.code == 1
    assert "console.allow_remote" in ran.err


def test_a_worker_without_a_broker_says_what_to_set(place: Place) -> None:
    ran = oncue("worker", "--state", place.state)
    assert ran.code == 1
    assert "error [configuration_error]: no broker: set worker.broker_url" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("up", "--state"), ("certificates", "make", "--name", "gateway", "--state"), ("phantom", "--out")],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_made_is_one_coded_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    ran = oncue(*arguments, tmp_path / "file" / "state")
    assert (ran.code, ran.err.count("\n")) == (1, 1), ran.err
    assert ran.err.startswith(f"error [file_unusable]: {tmp_path / 'file'}")
