"""Bring a database to the schema of this code, or say that it is not there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from storage.database import Database
from storage.errors import SchemaMismatch
from storage.fewshot.tables import METADATA

_LOCK_KEY = 0x6F6E6375654D


def upgrade(database: Database) -> str:
    """Apply the migrations that are missing and return the revision reached; two processes at once take turns."""
    with database.connect_for_writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
            connection.commit()
    return expected_revision()


def downgrade(database: Database, revision: str = "base") -> None:
    """Take migrations back down to a revision. Loses what newer tables hold."""
    with database.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()


def current_revision(database: Database) -> str | None:
    """Return the revision that the database stands at, None for an empty one."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def expected_revision() -> str:
    """Return the revision that this code was written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise SchemaMismatch("no migrations are installed; reinstall oncue")
    return head


def check(database: Database) -> None:
    """Raise SchemaMismatch where the database is not at this code's revision, or differs from the models."""
    current, expected = current_revision(database), expected_revision()
    if current != expected:
        raise SchemaMismatch(
            f"the database is at {current or 'nothing'}, this code needs {expected}: `oncue db upgrade`"
        )
    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), METADATA)
    if differences:
        raise SchemaMismatch(f"the database differs from the models in {len(differences)} places")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_folder()))
    return config


def _folder() -> Path:
    """Return the migrations: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "migrations"
    return installed if installed.is_dir() else here.parent / "migrations"
