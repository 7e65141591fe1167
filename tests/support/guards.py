"""Taking the database's guards off, as only its owner can: what is done then must be noticed all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from storage.database import Database

_GUARDED = ("audit_events", "audit_leaves")
_TRIGGERS = (
    "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('audit_events', 'audit_leaves')"
)


@contextmanager
def guards_off(database: Database) -> Iterator[None]:
    """Have the database let everything through and note nothing while the block runs."""
    if database.engine.dialect.name == "postgresql":
        take_off_guards(database)
        yield
        _all_triggers(database, "ENABLE")
        return
    with database.read() as session:
        triggers = session.execute(text(_TRIGGERS)).all()
    take_off_guards(database)
    yield
    with database.write() as session:
        for _, sql in triggers:
            session.execute(text(sql))


def take_off_guards(database: Database) -> None:
    """Have the database let everything through and note nothing from now on."""
    if database.engine.dialect.name == "postgresql":
        _all_triggers(database, "DISABLE")
        return
    with database.write() as session:
        for name, _ in session.execute(text(_TRIGGERS)).all():
            session.execute(text(f"DROP TRIGGER {name}"))


def _all_triggers(database: Database, verb: str) -> None:
    with database.write() as session:
        for table in _GUARDED:
            session.execute(text(f"ALTER TABLE {table} {verb} TRIGGER USER"))
