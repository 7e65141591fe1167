"""What a login puts on record that may read the history and write nothing: that it read."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

_WRITES = text("SELECT has_column_privilege('audit_events', 'tag', 'INSERT')")
_LOGIN = text("SELECT session_user")
_NOTE = text("SELECT audit_note_reading(:tag, :study, :told)")


def may_only_read(session: Session) -> bool:
    """Say whether the login may write no events of its own; SQLite knows no logins."""
    return session.get_bind().dialect.name == "postgresql" and not session.scalar(_WRITES)


def recorded_as(session: Session, actor: str) -> str:
    """Return under which name a reading of somebody goes on record."""
    return f"db:{session.scalar(_LOGIN)}" if may_only_read(session) else actor


def note_reading(session: Session, tag: str, study_uid: str | None, told: str) -> None:
    """Have the database record that this login read the history, under the login's own name (``db:LOGIN``).

    ``told`` is the event's details as JSON. SchemaMismatch where the login may not even that.
    """
    session.execute(_NOTE, {"tag": tag, "study": study_uid, "told": told})
