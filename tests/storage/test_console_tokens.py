from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from storage import audit, console_sessions, console_tokens
from storage.access_errors import TokenExpired, TokenNameInvalid, TokenRevoked, TokenUnknown
from storage.console_tokens import ConsoleToken, TokenState
from storage.database import Database
from storage.errors import RecordExists, RecordMissing

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADDRESS = "10.0.0.7"


def make(database: Database, name: str = "anna", *, expires_at: datetime | None = None, now: datetime = NOW) -> str:
    with database.write() as session:
        return console_tokens.make(session, name, actor="cli:root", now=now, expires_at=expires_at)


def revoke(database: Database, name: str = "anna") -> None:
    with database.write() as session:
        console_tokens.revoke(session, name, actor="cli:root", now=NOW)


def check(database: Database, secret: str, *, now: datetime = NOW) -> ConsoleToken:
    with database.read() as session:
        return console_tokens.check(session, secret, now=now)


def sign_in(database: Database, secret: str, *, now: datetime = NOW) -> str:
    token = check(database, secret, now=now)
    with database.write() as session:
        return console_sessions.begin(session, token, address=ADDRESS, lifetime=HOUR, now=now)


def who(database: Database, cookie: str, *, now: datetime = NOW) -> str | None:
    with database.read() as session:
        token = console_sessions.find(session, cookie, now=now)
    return token.name if token else None


def tags(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        return [(event.tag, event.subject, event.actor) for event in audit.history(session)]


def test_a_token_is_known_by_its_text_and_kept_as_a_hash_alone(database: Database) -> None:
    secret = make(database)
    assert check(database, secret).name == "anna"
    with pytest.raises(TokenUnknown):
        check(database, secret + "x")
    with database.read() as session:
        kept = str(session.execute(text("SELECT * FROM console_tokens")).all())
        assert secret.removeprefix("oncue_") not in kept + str(audit.history(session))
    assert make(database, "other") != secret


def test_a_token_ends_when_it_expires_or_is_revoked(database: Database) -> None:
    short, other = make(database, "short", expires_at=NOW + HOUR), make(database, "other")
    assert check(database, short, now=NOW + HOUR - timedelta(seconds=1)).name == "short"
    with pytest.raises(TokenExpired, match="short"):
        check(database, short, now=NOW + HOUR)
    revoke(database, "other")
    with pytest.raises(TokenRevoked, match="other"):
        check(database, other)
    with pytest.raises(RecordMissing):
        revoke(database, "other")
    assert tags(database) == [
        ("token:made", "token/short", "cli:root"),
        ("token:made", "token/other", "cli:root"),
        ("token:revoked", "token/other", "cli:root"),
    ]


def test_a_name_is_taken_until_its_token_is_revoked_or_has_expired(database: Database) -> None:
    make(database, expires_at=NOW + HOUR)
    with pytest.raises(RecordExists, match="oncue console revoke anna"):
        make(database)
    second = make(database, now=NOW + HOUR)
    revoke(database)
    third = make(database)
    assert second != third
    with database.read() as session:
        assert [token.state(NOW) for token in console_tokens.listed(session)] == [TokenState.STANDING]
        assert len(console_tokens.listed(session, revoked=True)) == 3


def test_of_many_who_make_a_token_of_one_name_at_once_one_does(database: Database) -> None:
    def attempt(_: int) -> bool:
        try:
            make(database)
        except RecordExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


@pytest.mark.parametrize("name", ["", "10.0.0.7", "::1", "-x", "a b", "a/b", "a" * 33, "müller", "a\n"])
def test_a_name_cannot_be_taken_for_an_address_or_for_somebody_else(sqlite_database: Database, name: str) -> None:
    with pytest.raises(TokenNameInvalid):
        make(sqlite_database, name)


def test_the_last_use_is_kept_to_some_minutes(database: Database) -> None:
    secret = make(database)
    token = check(database, secret)
    assert console_tokens.is_use_due(token, now=NOW)
    with database.write() as session:
        console_tokens.note_use(session, token, now=NOW)
        console_tokens.note_use(session, token, now=NOW - HOUR)
    used = check(database, secret)
    assert used.used_at == NOW
    assert not console_tokens.is_use_due(used, now=NOW + timedelta(minutes=4))
    assert console_tokens.is_use_due(used, now=NOW + timedelta(minutes=5))


def test_a_browser_is_signed_in_until_its_time_is_over_or_it_signs_out(database: Database) -> None:
    secret = make(database)
    cookie, other = sign_in(database, secret), sign_in(database, secret)
    assert who(database, cookie, now=NOW + HOUR - timedelta(seconds=1)) == "anna"
    assert who(database, cookie, now=NOW + HOUR) is None
    assert who(database, secret) is None
    for _ in range(2):
        with database.write() as session:
            console_sessions.end(session, cookie, address=ADDRESS, now=NOW)
    assert (who(database, cookie), who(database, other)) == (None, "anna")
    assert [tag for tag, _, actor in tags(database) if actor == "web/anna"] == [
        "user:logged-in", "user:logged-in", "user:logged-out",
    ]  # fmt: skip # reads by its lines


def test_a_browser_is_signed_out_with_its_token(database: Database) -> None:
    lasting, short = make(database), make(database, "short", expires_at=NOW + HOUR / 2)
    cookies = sign_in(database, lasting), sign_in(database, short)
    assert [who(database, cookie, now=NOW + HOUR / 2) for cookie in cookies] == ["anna", None]
    revoke(database)
    assert who(database, cookies[0]) is None


def test_sessions_that_ran_out_and_too_many_of_one_token_are_cleared_away(sqlite_database: Database) -> None:
    secret = make(sqlite_database)
    first = sign_in(sqlite_database, secret)
    later = NOW + timedelta(minutes=1)
    others = [sign_in(sqlite_database, secret, now=later) for _ in range(console_sessions.MOST_OF_ONE_TOKEN)]
    assert who(sqlite_database, first, now=later) is None
    assert {who(sqlite_database, cookie, now=later) for cookie in others} == {"anna"}
    sign_in(sqlite_database, secret, now=later + HOUR)
    with sqlite_database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM console_sessions")) == 1
