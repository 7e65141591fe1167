"""The guards of a PostgreSQL database, on the tables and on every partition, and how they are held against these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

_BEFORE_ROW_CHANGE = 1 | 2 | 8 | 16
_BEFORE_TRUNCATE = 2 | 32
_AFTER_ROW_INSERT = 1 | 4
_FIRES_ALWAYS = ("O", "A")


@dataclass(frozen=True, slots=True)
class GuardTrigger:
    """One trigger: its name, the bits of ``pg_trigger.tgtype``, and the function that it calls."""

    name: str
    kind: int
    function: str


_EVENTS = (
    GuardTrigger("audit_events_no_change", _BEFORE_ROW_CHANGE, "audit_events_refuse"),
    GuardTrigger("audit_events_no_truncate", _BEFORE_TRUNCATE, "audit_events_refuse"),
    GuardTrigger("audit_events_pending", _AFTER_ROW_INSERT, "audit_events_note"),
)
_LEAVES = (
    GuardTrigger("audit_leaves_no_change", _BEFORE_ROW_CHANGE, "audit_events_refuse"),
    GuardTrigger("audit_leaves_no_truncate", _BEFORE_TRUNCATE, "audit_events_refuse"),
)
_SOURCES: Mapping[str, str] = {
    "audit_events_refuse": "BEGIN RAISE EXCEPTION 'audit events are only ever added'; END",
    "audit_events_note": "BEGIN INSERT INTO audit_pending (seq) VALUES (NEW.seq); RETURN NULL; END",
}
_WITH_OWNERS_RIGHTS = {"audit_events_note"}

_TABLES = text(
    """
    SELECT c.oid, c.relname, c.relrowsecurity OR c.relforcerowsecurity AS filtered
    FROM pg_class c WHERE c.oid IN (to_regclass('audit_events'), to_regclass('audit_leaves'))
    OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('audit_events'))
    ORDER BY c.relname
    """
)
_TRIGGERS = text(
    """
    SELECT t.tgrelid, t.tgname, t.tgtype, t.tgenabled, p.proname, p.pronamespace = c.relnamespace AS ours,
           t.tgqual IS NOT NULL OR cardinality(t.tgattr::int2[]) > 0 OR t.tgnargs > 0 AS narrowed
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid
    WHERE t.tgrelid = ANY(:tables) AND NOT (t.tgisinternal AND t.tgconstraint <> 0)
    """
)
_FUNCTIONS = text(
    """
    SELECT p.proname, p.prosrc, l.lanname, p.prosecdef FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('audit_events'))
    AND p.proname = ANY(:names)
    """
)
_RULES = text(
    """
    SELECT r.rulename, c.relname FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
    WHERE r.ev_class = ANY(:tables)
    """
)
_REPLICATING = text(
    """
    SELECT COALESCE(r.rolname, 'every role') FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
    WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND EXISTS (SELECT FROM unnest(s.setconfig) AS one WHERE one LIKE 'session_replication_role=%'
                AND one <> 'session_replication_role=origin')
    """
)


def missing(session: Session) -> Iterator[str]:
    """Yield what is missing, disabled or changed, and what stands beside the guards and could undo them."""
    tables = session.execute(_TABLES).all()
    for name in {"audit_events", "audit_leaves"} - {table.relname for table in tables}:
        yield f"table {name} is missing"
    oids = [table.oid for table in tables]
    triggers = session.execute(_TRIGGERS, {"tables": oids}).all()
    for table in tables:
        found = {trigger.tgname: trigger for trigger in triggers if trigger.tgrelid == table.oid}
        yield from _missing_on(table.relname, found)
        if table.filtered:
            yield f"row security hides rows of {table.relname}"
    yield from _changed_functions(session)
    for rule, name in session.execute(_RULES, {"tables": oids}):
        yield f"rule {rule} on {name} is not one of oncue's"
    yield from (f"triggers are switched off for {role}" for role in session.scalars(_REPLICATING))


def _missing_on(table: str, found: Mapping[str, Row[tuple[object, ...]]]) -> Iterator[str]:
    expected = _LEAVES if table == "audit_leaves" else _EVENTS
    for guard in expected:
        trigger = found.get(guard.name)
        if trigger is None:
            yield f"trigger {guard.name} on {table} is missing"
        elif trigger.tgenabled not in _FIRES_ALWAYS:
            yield f"trigger {guard.name} on {table} is disabled"
        elif (trigger.tgtype, trigger.proname, trigger.ours, trigger.narrowed) != (
            guard.kind,
            guard.function,
            True,
            False,
        ):
            yield f"trigger {guard.name} on {table} was changed"
    others = found.keys() - {guard.name for guard in expected}
    yield from (f"trigger {name} on {table} is not one of oncue's" for name in sorted(others))


def _changed_functions(session: Session) -> Iterator[str]:
    found = {row.proname: row for row in session.execute(_FUNCTIONS, {"names": [*_SOURCES]})}
    for name, source in _SOURCES.items():
        if name not in found:
            yield f"function {name} is missing"
        elif (
            " ".join(found[name].prosrc.split()) != source
            or found[name].lanname != "plpgsql"
            or found[name].prosecdef != (name in _WITH_OWNERS_RIGHTS)
        ):
            yield f"function {name} was changed"
