"""Bring a database to the schema of this code, or say that it is not there."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import text

from storage.database import Database
from storage.errors import SchemaMismatch
from storage.fewshot.tables import METADATA
from storage.revisions import current_revision, expected_revision, migrations_folder

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
    config.set_main_option("script_location", str(migrations_folder()))
    return config
