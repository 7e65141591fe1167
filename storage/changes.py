"""Waiting for the next commit of any process, so that a loop need not ask the tables again and again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError

from storage.database import Database

_LOOK_SECONDS = 0.1


class Changes:
    """Sees that something was committed to a database. For one thread; only a hint: never rely on it alone.

    SQLite counts the commits of other connections (``PRAGMA data_version``), and asking it takes microseconds.
    PostgreSQL has no such count, so there every wait lasts ``poll_seconds`` and counts as a change.
    """

    def __init__(self, database: Database, *, poll_seconds: float) -> None:
        """Make no connection yet. ``poll_seconds`` is the longest time for which a commit may stay unseen."""
        self._database = database
        self._poll_seconds = poll_seconds
        self._counts = database.engine.dialect.name == "sqlite"
        self._connection: PoolProxiedConnection | None = None
        self._version: int | None = None

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Return True once something may have been committed, False after ``seconds`` or when ``stop`` is set.

        What was committed between two waits is seen by the second one. A database that is down counts as changed,
        after ``poll_seconds``: whoever asks it next learns why.
        """
        deadline = time.monotonic() + seconds
        pause = min(self._poll_seconds, _LOOK_SECONDS) if self._counts else self._poll_seconds
        while True:
            version = self._data_version()
            if version is not None and version != self._version:
                self._version = version
                return True
            left = deadline - time.monotonic()
            if left <= 0 or stop.wait(min(left, pause if version is not None else self._poll_seconds)):
                return False
            if version is None:
                return True

    def close(self) -> None:
        """Give the connection up; the next wait opens another one."""
        connection, self._connection = self._connection, None
        self._version = None  # it counts within one connection alone
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
                connection.close()

    def _data_version(self) -> int | None:
        """Return SQLite's count of the commits that this connection did not make, None where there is none."""
        if not self._counts:
            return None
        try:
            if self._connection is None:
                self._connection = self._database.engine.raw_connection()
            cursor = self._connection.cursor()
            (version,) = cursor.execute("PRAGMA data_version").fetchone()
            cursor.close()
        except (SQLAlchemyError, sqlite3.Error):
            self.close()
            return None
        return int(version)
