"""Which schema a database has and which one this code needs, found out without loading the tool that migrates."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from storage.database import Database, translated
from storage.errors import SchemaMismatch


def current_revision(database: Database) -> str | None:
    """Return the revision that the database stands at, None for an empty one; DatabaseUnavailable."""
    with translated(), database.engine.connect() as connection:
        return revision_of(connection)


def revision_of(connection: Connection) -> str | None:
    """Return the revision that an open connection's database stands at, None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def require_expected(database: Database) -> None:
    """Raise SchemaMismatch where the database stands at another revision than this code's; DatabaseUnavailable."""
    current, expected = current_revision(database), expected_revision()
    if current != expected:
        raise SchemaMismatch(
            f"the database is at {current or 'nothing'}, this version needs {expected}: `oncue db upgrade`, "
            "or the version that wrote it"
        )


@cache
def expected_revision() -> str:
    """Return the revision that this code was written for: the one that no other migration builds on.

    Found once: the files may be those of a newer release while the older one still runs.
    """
    steps = [_step(path) for path in (migrations_folder() / "versions").glob("*.py")]
    heads = {revision for revision, _ in steps} - {before for _, before in steps}
    if len(heads) != 1:
        raise SchemaMismatch("no migrations are installed; reinstall oncue")
    return str(heads.pop())


def migrations_folder() -> Path:
    """Return the migrations: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "migrations"
    return installed if installed.is_dir() else here.parent / "migrations"


def _step(path: Path) -> tuple[object, object]:
    """Return the revision of a migration and the one that it builds on, as its file names them."""
    named = {
        target.id: ast.literal_eval(statement.value)
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and target.id in ("revision", "down_revision")
    }
    return named.get("revision"), named.get("down_revision")
