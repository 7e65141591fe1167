from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from storage import audit
from storage.database import Database, connect
from storage.errors import OncueError

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _record(database: Database, events: int) -> None:
    for number in range(events):
        with database.write() as session:
            audit.record(session, "test:done", f"thing/{number}", actor="test", now=NOW, details={"n": number})


def test_an_untouched_chain_is_proved_whole(database: Database) -> None:
    _record(database, 5)
    with database.read() as session:
        result = audit.verify(session)
    assert (result.events, result.broken_seq) == (5, None)


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET tag = 'x'", "DELETE FROM audit_events"])
def test_the_database_refuses_to_change_history(database: Database, statement: str) -> None:
    _record(database, 2)
    with pytest.raises((OncueError, DBAPIError)), database.write() as session:
        session.execute(text(statement))
    with database.read() as session:
        assert audit.verify(session).events == 2


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE audit_events SET details = '{}' WHERE seq = 3", 3),
        ("DELETE FROM audit_events WHERE seq = 2", 3),
        ("UPDATE audit_events SET previous_hash = hash WHERE seq = 4", 4),
    ],
)
def test_a_forged_row_is_named_even_when_the_guards_were_taken_off(
    database: Database, statement: str, broken: int
) -> None:
    _record(database, 5)
    _drop_guards(database)
    with database.write() as session:
        session.execute(text(statement))
    with database.read() as session:
        result = audit.verify(session)
    assert result.broken_seq == broken
    assert result.reason


def test_two_writers_at_once_make_one_chain(database_url: str) -> None:
    def write() -> None:
        database = connect(database_url)
        _record(database, 20)
        database.dispose()

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    database = connect(database_url)
    with database.read() as session:
        result = audit.verify(session)
    database.dispose()
    assert (result.events, result.broken_seq) == (80, None)


def test_an_event_of_a_transaction_that_fails_is_not_in_the_chain(database: Database) -> None:
    def write_and_fail() -> None:
        with database.write() as session:
            audit.record(session, "test:done", "thing/1", actor="test", now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    with database.read() as session:
        assert audit.verify(session).events == 0


def _drop_guards(database: Database) -> None:
    sqlite = database.engine.dialect.name == "sqlite"
    names = (
        ["audit_events_no_update", "audit_events_no_delete"]
        if sqlite
        else ["audit_events_no_change", "audit_events_no_truncate"]
    )
    with database.write() as session:
        for name in names:
            session.execute(text(f"DROP TRIGGER {name}" + ("" if sqlite else " ON audit_events")))
