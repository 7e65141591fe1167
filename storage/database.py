"""Engine and transactions, for SQLite (WAL) and PostgreSQL alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.orm import Session

from storage.errors import (
    DatabaseDamaged,
    DatabaseUnavailable,
    OncueError,
    SchemaMismatch,
    StatementRefused,
    WriteConflict,
)

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

_BUSY_MILLISECONDS = 30_000
_PRIMARY_CODE = 0xFF  # of a result code of SQLite; the bits above it say more of the same failure
_WRITES = "oncue_writes"
_CONFLICTS = frozenset({"40001", "40P01", "55P03"})
"""What PostgreSQL says where writers met: serialization failure, deadlock, lock not available."""
_PROGRAM_LIMIT = "54"
"""Class of SQLSTATE for a statement that is too large or too complex (PostgreSQL, appendix A)."""

_DAMAGES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""What SQLite says of a file that it cannot make sense of; its driver calls that neither operational nor ours."""

_SCHEMA_STATES = frozenset({"42P01", "42703", "42704", "42883", "42501", "3F000"})
"""SQLSTATE of a table, column, object or function that is not there, of missing rights, and of a missing schema."""


@dataclass(frozen=True, slots=True)
class Database:
    """One engine; ``write`` and ``read`` hand out sessions that end with their block."""

    engine: Engine

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a transaction that commits at the end of the block and rolls back on any error.

        SQLite begins IMMEDIATE, so two writers queue up instead of failing half-way.
        """
        with translated(), Session(self.engine.execution_options(**{_WRITES: True})) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a transaction for reading only; nothing is committed."""
        with translated(), Session(self.engine) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a transaction for reading in which every query sees the database of one moment.

        SQLite's transactions are so by themselves; PostgreSQL's are asked to be (REPEATABLE READ).
        """
        options = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with translated(), Session(self.engine.execution_options(**options)) as session:
            yield session

    def connect_for_writing(self) -> Connection:
        """Open a connection whose transactions take SQLite's write lock when they begin; the caller closes it."""
        with translated():
            return self.engine.execution_options(**{_WRITES: True}).connect()

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def connect(url: str) -> Database:
    """Build the engine for a URL; no connection is made yet."""
    # A PostgreSQL database without an encoding of its own answers in bytes unless it is told what they are.
    options = {} if url.startswith("sqlite") else {"pool_pre_ping": True, "connect_args": {"client_encoding": "UTF8"}}
    engine = create_engine(url, **options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "handle_error", _give_up_read_only)
    return Database(engine)


def utc_now() -> datetime:
    """Return the current time, timezone-aware, in UTC."""
    return datetime.now(UTC)


@contextmanager
def translated() -> Iterator[None]:
    """Have what a driver raises in the block raised as an error of ours: DatabaseUnavailable, SchemaMismatch, ..."""
    try:
        yield
    except (OperationalError, InterfaceError, ProgrammingError, DataError) as error:
        # The driver's text can quote bound values, which may be patient data: only its class is passed on.
        raise _as_ours(error) from error
    except DatabaseError as error:
        if getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE not in _DAMAGES:
            raise
        raise DatabaseDamaged(
            "the file of the database is damaged, or is no database of SQLite: set it aside and restore a backup"
        ) from error
    except PoolExhausted as error:
        raise DatabaseUnavailable("every connection to the database is in use; it is too slow for the load") from error


def _as_ours(error: DBAPIError) -> OncueError:
    """Return what a driver's error is: the server or the connection, the schema, or the statement itself."""
    kind = type(error.orig).__name__
    if getattr(error.orig, "sqlstate", None) in _CONFLICTS:
        return WriteConflict("another writer changed the same records at the same time; try again")
    if _is_of_the_schema(error):
        return SchemaMismatch(f"the database refused a statement ({kind}); check schema and rights: `oncue db check`")
    if _is_of_the_statement(error):
        return StatementRefused(
            f"the database will not carry out a statement of this size or form ({kind}); ask for less at once, "
            "and report it if that does not help"
        )
    return DatabaseUnavailable(f"the database did not answer ({kind}); check the server and the disk")


def _is_of_the_schema(error: DBAPIError) -> bool:
    """Say whether a table or a column is not there, or not for this user."""
    if isinstance(error.orig, sqlite3.OperationalError):
        said = str(error.orig)
        return said.startswith("no such") or " has no column named " in said
    return getattr(error.orig, "sqlstate", None) in _SCHEMA_STATES


def _is_of_the_statement(error: DBAPIError) -> bool:
    """Say whether the database was there, and would refuse the same statement again."""
    if isinstance(error, ProgrammingError | DataError):
        return True
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)
    state: str | None = getattr(error.orig, "sqlstate", None)
    if state is None:
        # No answer of a server: either there was none, or the driver did not send what is too large to be sent.
        return error.statement is not None and not error.connection_invalidated
    return state.startswith(_PROGRAM_LIMIT)


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: _begin_sqlite chooses the kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: in WAL mode NORMAL may lose the last commits on a power cut, and an acknowledged image is a promise.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MILLISECONDS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _give_up_read_only(context: ExceptionContext) -> None:
    """Have connections made anew: SQLite's stay read-only for good where the file was so when they were opened."""
    code = getattr(context.original_exception, "sqlite_errorcode", sqlite3.SQLITE_OK)
    if code & _PRIMARY_CODE == sqlite3.SQLITE_READONLY:
        context.is_disconnect = True
