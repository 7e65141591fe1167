"""The guards of the history: what makes the database refuse to change events, and note each new one.

Whoever owns the tables can take them off. That cannot be prevented, but it is noticed: what a database has is held
against what it must have, word for word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sqlalchemy import text
from sqlalchemy.orm import Session

from storage.history import postgresql_guards

_REFUSE = "BEGIN SELECT RAISE(ABORT, 'audit events are only ever added'); END"
_REPLACED: Mapping[str, str] = {
    "audit_events": "NEW.seq > 0 AND EXISTS (SELECT 1 FROM audit_events WHERE seq = NEW.seq)",
    "audit_leaves": "EXISTS (SELECT 1 FROM audit_leaves WHERE number = NEW.number OR seq = NEW.seq)",
}
_SQLITE: Mapping[str, str] = {
    **{
        f"{table}_no_{verb.lower()}": f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} {_REFUSE}"
        for table in _REPLACED
        for verb in ("UPDATE", "DELETE")
    },
    **{
        f"{table}_no_replace": f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {clause} {_REFUSE}"
        for table, clause in _REPLACED.items()
    },
    "audit_events_pending": (
        "CREATE TRIGGER audit_events_pending AFTER INSERT ON audit_events "
        "BEGIN INSERT INTO audit_pending (seq) VALUES (NEW.seq); END"
    ),
    "audit_events_find": (
        "CREATE TRIGGER audit_events_find AFTER INSERT ON audit_events "
        "BEGIN INSERT INTO audit_events_words (rowid, details) VALUES (NEW.seq, NEW.details); END"
    ),
}


def missing(session: Session) -> tuple[str, ...]:
    """Return in short texts which guards are missing, disabled or changed, and what stands beside them; none: all well.

    Any role may ask, and nothing is changed.
    """
    if session.get_bind().dialect.name == "postgresql":
        return tuple(postgresql_guards.missing(session))
    return tuple(_missing_in_sqlite(session))


def _missing_in_sqlite(session: Session) -> Iterator[str]:
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('audit_events', 'audit_leaves')"
    )
    found = {name: _words(sql) for name, sql in session.execute(text(query))}
    for name, sql in _SQLITE.items():
        if name not in found:
            yield f"trigger {name} is missing"
        elif found[name] != _words(sql):
            yield f"trigger {name} was changed"
    yield from (f"trigger {name} is not one of oncue's" for name in sorted(found.keys() - _SQLITE.keys()))


def _words(sql: str) -> str:
    """Return a statement with single spaces and without the quotes that renaming a table puts around its name."""
    return " ".join(sql.replace('"', "").split())
