from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from storage import audit
from storage.database import Database
from storage.errors import OncueError
from storage.history import guards

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

_POSTGRESQL = {
    "ALTER TABLE audit_events DISABLE TRIGGER audit_events_no_change": "no_change on audit_events is disabled",
    "ALTER TABLE audit_events_elsewhere DISABLE TRIGGER audit_events_no_change": "events_elsewhere is disabled",
    "ALTER TABLE audit_events_elsewhere DISABLE TRIGGER audit_events_pending": "pending on audit_events_elsewhere is",
    "ALTER TABLE audit_events ENABLE REPLICA TRIGGER audit_events_pending": "pending on audit_events is disabled",
    "DROP TRIGGER audit_events_no_truncate ON audit_events_elsewhere": "on audit_events_elsewhere is missing",
    "DROP TRIGGER audit_events_pending ON audit_events": "pending on audit_events is missing",
    "DROP TRIGGER audit_leaves_no_change ON audit_leaves": "no_change on audit_leaves is missing",
    (
        "CREATE OR REPLACE TRIGGER audit_leaves_no_change BEFORE DELETE ON audit_leaves "
        "FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()"
    ): "no_change on audit_leaves was changed",
    (
        "CREATE OR REPLACE TRIGGER audit_leaves_no_change BEFORE UPDATE OR DELETE ON audit_leaves "
        "FOR EACH ROW WHEN (OLD.number < 0) EXECUTE FUNCTION audit_events_refuse()"
    ): "no_change on audit_leaves was changed",
    (
        "CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN OLD; END $$"
    ): "function audit_events_refuse was changed",
    "ALTER FUNCTION audit_events_note() SECURITY INVOKER": "function audit_events_note was changed",
    "CREATE RULE quiet AS ON INSERT TO audit_events DO INSTEAD NOTHING": "rule quiet",
    (
        "CREATE TRIGGER aside BEFORE INSERT ON audit_leaves FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()"
    ): "trigger aside on audit_leaves is not one of",
    "ALTER TABLE audit_events ENABLE ROW LEVEL SECURITY": "row security hides rows of audit_events",
}
_SQLITE = {
    "DROP TRIGGER audit_events_no_update": "audit_events_no_update is missing",
    "DROP TRIGGER audit_leaves_no_replace": "audit_leaves_no_replace is missing",
    "DROP TRIGGER audit_events_pending": "audit_events_pending is missing",
    "CREATE TRIGGER aside BEFORE INSERT ON audit_events BEGIN SELECT RAISE(IGNORE); END": "aside is not one of",
}


def test_a_migrated_database_has_every_guard(database: Database) -> None:
    with database.read() as session:
        assert guards.missing(session) == ()


def test_each_guard_that_is_taken_off_or_changed_is_named(database: Database) -> None:
    changes = _POSTGRESQL if database.engine.dialect.name == "postgresql" else _SQLITE
    for statement, expected in changes.items():
        with database.engine.connect() as connection:
            connection.exec_driver_sql(statement)
            found = guards.missing(Session(bind=connection))
            connection.rollback()
        assert any(expected in one for one in found), (statement, found)
    with database.read() as session:
        assert guards.missing(session) == ()


def test_a_trigger_that_does_nothing_any_more_is_noticed_in_sqlite(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        session.execute(text("DROP TRIGGER audit_events_no_delete"))
        session.execute(text("CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events BEGIN SELECT 1; END"))
    with sqlite_database.read() as session:
        assert guards.missing(session) == ("trigger audit_events_no_delete was changed",)


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT OR REPLACE INTO audit_events (seq, at, tag, subject, actor, outcome, details, previous_hash, hash) "
            "SELECT seq, at, 'forged', subject, actor, outcome, details, previous_hash, hash FROM audit_events"
        ),
        "INSERT OR REPLACE INTO audit_leaves (number, seq) VALUES (0, 5)",
        "INSERT OR REPLACE INTO audit_leaves (number, seq) VALUES (7, 1)",
    ],
)
def test_sqlite_refuses_to_replace_what_is_there(sqlite_database: Database, statement: str) -> None:
    with sqlite_database.write() as session:
        audit.record(session, "study:opened", "study/1", actor="test", now=NOW)
        session.execute(text("INSERT INTO audit_leaves (number, seq) VALUES (0, 1)"))
    with pytest.raises((OncueError, DBAPIError)), sqlite_database.write() as session:
        session.execute(text(statement))
    with sqlite_database.read() as session:
        assert [event.tag for event in audit.latest(session)] == ["study:opened"]
