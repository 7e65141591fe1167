"""Tokens from the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from storage import console_tokens
from storage.database import utc_now
from tests.console.conftest import Place
from tests.support.commands import oncue


def test_a_token_is_printed_alone_so_that_a_script_can_take_it(anywhere: Place) -> None:
    made = oncue("console", "token", "--name", "anna", "--state", anywhere.state)
    assert made.code == 0
    secret = made.out.removesuffix("\n")
    assert secret.startswith("oncue_")
    assert len(secret) == len("oncue_") + 43
    assert "shown this once" in made.err
    with anywhere.database.read() as session:
        assert console_tokens.check(session, secret, now=utc_now()).name == "anna"
    (listed,) = oncue("console", "tokens", "--json", "--state", anywhere.state).json
    assert (listed["name"], listed["state"], listed["expires_at"]) == ("anna", "standing", None)
    assert listed["made_by"].startswith("cli:")
    again = oncue("console", "token", "--name", "anna", "--state", anywhere.state)
    assert (again.code, "error [record_exists]" in again.err) == (1, True)


def test_a_revoked_token_is_listed_only_on_demand(place: Place) -> None:
    oncue("console", "token", "--name", "anna", "--state", place.state)
    assert oncue("console", "revoke", "anna", "--state", place.state).code == 0
    assert "nobody can change anything" in oncue("console", "tokens", "--state", place.state).out
    (listed,) = oncue("console", "tokens", "--all", "--json", "--state", place.state).json
    assert listed["state"] == "revoked"
    gone = oncue("console", "revoke", "anna", "--state", place.state)
    assert (gone.code, "error [record_missing]" in gone.err) == (1, True)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2199-06-30", datetime(2199, 7, 1, tzinfo=UTC)),
        ("2199-06-30T12:00", datetime(2199, 6, 30, 12, tzinfo=UTC)),
        ("2199-06-30T12:00+02:00", datetime(2199, 6, 30, 10, tzinfo=UTC)),
    ],
)
def test_a_token_expires_when_it_is_said_to(place: Place, given: str, meant: datetime) -> None:
    made = oncue("console", "token", "--expires", given, "--json", "--state", place.state).json
    assert datetime.fromisoformat(made["expires_at"]) == meant


def test_a_token_expires_after_a_span(place: Place) -> None:
    before = utc_now()
    made = oncue("console", "token", "--expires", "90d", "--json", "--state", place.state).json
    left = datetime.fromisoformat(made["expires_at"]) - before
    assert timedelta(days=90, seconds=-2) < left < timedelta(days=90, minutes=10)


@pytest.mark.parametrize("wrong", ["yesterday", "2020-01-01", "0d", "9999-12-31", "99999w5", "2027-13-01", "-5d"])
def test_a_time_that_is_none_or_is_over_is_a_wrong_option(place: Place, wrong: str) -> None:
    assert oncue("console", "token", f"--expires={wrong}", "--state", place.state).code == 2
    assert oncue("console", "tokens", "--all", "--json", "--state", place.state).json == []


def test_options_of_the_pages_before_a_subcommand_are_not_quietly_left_out(place: Place) -> None:
    ran = oncue("console", "--state", place.state, "token")
    assert (ran.code, "give --state after `token`" in ran.err) == (2, True)


def test_the_doctor_says_who_can_sign_in_and_which_token_soon_cannot(place: Place) -> None:
    def found() -> list[tuple[str, str, str]]:
        parts = oncue("doctor", "--only", "tokens", "--json", "--state", place.state).json
        return [(part["subject"], part["verdict"], part["detail"]) for part in parts]

    ((_, verdict, detail),) = found()
    assert (verdict, "oncue console token" in detail) == ("remark", True)
    oncue("console", "token", "--name", "anna", "--state", place.state)
    oncue("console", "token", "--name", "ben", "--expires", "3d", "--state", place.state)
    first, second = found()
    assert (first[1], first[2].partition(" ")[0]) == ("fine", "2")
    assert (second[1], second[2].startswith("ben expires at ")) == ("remark", True)
