"""Writing many rows at once: COPY on PostgreSQL, one statement for many rows on SQLite. Triggers see every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Integer, Table, func, select, text
from sqlalchemy.orm import Session

from benchmarks.history.moulds import Values
from storage.database import Database


def add(session: Session, table: Table, columns: Sequence[str], rows: Sequence[Values]) -> None:
    """Add rows, each with its values in the order of the columns."""
    if not rows:
        return
    if session.get_bind().dialect.name != "postgresql":
        session.execute(table.insert(), [dict(zip(columns, row, strict=True)) for row in rows])
        return
    # The session's own connection, so that it is one transaction; the driver alone knows COPY.
    driver: Any = session.connection().connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def highest_number(session: Session, table: Table) -> int:
    """Return the highest number that a row of a table has; 0 where there is none."""
    return session.scalar(select(func.max(table.c.id))) or 0


def number_on(database: Database, tables: Sequence[Table]) -> None:
    """Let PostgreSQL number the next rows of some tables after those that came with their numbers."""
    if database.engine.dialect.name != "postgresql":
        return
    with database.write() as session:
        for table in tables:
            if isinstance(table.c.id.type, Integer | BigInteger):
                sequence = text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), :highest)")
                session.execute(sequence, {"highest": max(highest_number(session, table), 1)})


def refresh_statistics(database: Database) -> None:
    """Let the planner know what the tables hold now, as autovacuum does on a server that grew into it."""
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE" if database.engine.dialect.name == "postgresql" else "ANALYZE")
