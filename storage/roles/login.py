"""What the login of a session may do with the history."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

_OWNS = text(
    "SELECT rolsuper OR pg_has_role(c.relowner, 'USAGE') FROM pg_roles, pg_class c "
    "WHERE rolname = current_user AND c.oid = to_regclass('audit_events')"
)


def may_undo_guards(session: Session) -> bool:
    """Say whether the login could take the guards off: it owns the tables, or is a superuser; SQLite knows no other."""
    return session.get_bind().dialect.name != "postgresql" or bool(session.scalar(_OWNS))
