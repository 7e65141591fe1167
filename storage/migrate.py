"""Bring a database to the schema of this code, or say that it is not there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from storage.database import Database, translated
from storage.errors import SchemaMismatch
from storage.revisions import expected_revision, migrations_folder, require_expected, revision_of
from storage.schema import METADATA

_LOCK_KEY = 0x6F6E6375654D
_NOT_ALLOWED = "42501"


def upgrade(database: Database) -> str:
    """Apply the migrations that are missing, all or none, and return the revision reached; two processes take turns."""
    with _moving(database.connect_for_writing()) as connection:
        # SQLite's turn was taken when the transaction began; PostgreSQL's is this lock, which goes with it.
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        # The tool reads and compiles every migration before it sees that none is missing.
        if revision_of(connection) != expected_revision():
            with _rights_needed():
                command.upgrade(_config(connection), "head")
    return expected_revision()


def downgrade(database: Database, revision: str = "base") -> None:
    """Take migrations back down to a revision, all or none. Loses what newer tables hold."""
    with _moving(database.connect_for_writing()) as connection:
        command.downgrade(_config(connection), revision)


def check(database: Database) -> None:
    """Raise SchemaMismatch where the database is not at this code's revision, or differs from the models."""
    require_expected(database)
    with translated(), database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _is_modelled})
        differences = compare_metadata(context, METADATA)
    if differences:
        raise SchemaMismatch(f"the database differs from the models in {len(differences)} places")


def _is_modelled(name: str | None, _kind: str, _parents: Mapping[str, str | None]) -> bool:
    """Say whether a name of the database is to be found in the models.

    Partitions come and go by the month, and the index of words is another thing in each database.
    """
    return name is None or not name.startswith("audit_events_")


@contextmanager
def _moving(connection: Connection) -> Iterator[Connection]:
    """Hold one transaction over every migration. Alembic sees that it is there, and neither begins nor ends one.

    Were each migration one of its own, another process could take its turn between two of them.
    """
    with connection, _tables_may_be_rebuilt(connection), connection.begin():
        yield connection


@contextmanager
def _rights_needed() -> Iterator[None]:
    """Say who may upgrade where this login may not."""
    try:
        yield
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != _NOT_ALLOWED:
            raise
        raise SchemaMismatch(
            f"the database is not at {expected_revision()}, and this login may not change its schema: "
            "`oncue db upgrade` as a member of the role for migration"
        ) from error


@contextmanager
def _tables_may_be_rebuilt(connection: Connection) -> Iterator[None]:
    """Let SQLite drop a table that others refer to, for it can alter most things only by making the table anew.

    The setting cannot be changed inside a transaction. Afterwards no row may refer to what is not there.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver = connection.connection.cursor()
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
        if driver.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise SchemaMismatch("a migration left rows that refer to missing ones; restore the database from a backup")
    finally:
        driver.execute("PRAGMA foreign_keys=ON")
        driver.close()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    return config
