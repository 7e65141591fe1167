"""Waiting for the next commit of any process, so that a loop need not ask the tables again and again."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, cast

from sqlalchemy import PoolProxiedConnection, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from storage.database import Database

if TYPE_CHECKING:
    import psycopg

_LOOK_SECONDS = 0.1
_CHANNEL = "oncue_changes"


def announce(session: Session) -> None:
    """Have those who wait for changes notice this transaction once it is committed, where commits are not counted."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_notify(_CHANNEL, "")))


class Changes:
    """Sees that something was committed to a database. For one thread; only a hint: never rely on it alone.

    SQLite counts the commits of other connections (``PRAGMA data_version``), and asking it takes microseconds.
    PostgreSQL has no such count: there a wait ends with the next ``announce`` or after ``poll_seconds``, and either way
    it counts as a change.
    """

    def __init__(self, database: Database, *, poll_seconds: float) -> None:
        """Make no connection yet. ``poll_seconds`` is the longest time for which a commit may stay unseen."""
        self._database = database
        self._poll_seconds = poll_seconds
        self._counts = database.engine.dialect.name == "sqlite"
        self._connection: PoolProxiedConnection | None = None
        self._listening: psycopg.Connection | None = None
        self._version: int | None = None

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Return True once something may have been committed, False after ``seconds`` or when ``stop`` is set.

        What was committed between two waits is seen by the second one. A database that is down counts as changed,
        after ``poll_seconds``: whoever asks it next learns why.
        """
        if not self._counts:
            return self._listen(stop, seconds)
        deadline = time.monotonic() + seconds
        pause = min(self._poll_seconds, _LOOK_SECONDS)
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
        opened = (self._connection, self._listening)
        self._connection = self._listening = None
        self._version = None  # it counts within one connection alone
        for connection in opened:
            if connection is not None:
                with contextlib.suppress(SQLAlchemyError, self._driver_error):
                    connection.close()

    @property
    def _driver_error(self) -> type[Exception]:
        return cast("type[Exception]", self._database.engine.dialect.loaded_dbapi.Error)

    def _data_version(self) -> int | None:
        """Return SQLite's count of the commits that this connection did not make, None where there is none."""
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

    def _listen(self, stop: threading.Event, seconds: float) -> bool:
        """Wait for the next announcement, in short stretches, between which ``stop`` is looked at."""
        begun = time.monotonic()
        while not stop.is_set():
            waited = time.monotonic() - begun
            left = min(seconds, self._poll_seconds) - waited
            if left <= 0:
                return waited >= self._poll_seconds
            heard = self._heard(min(left, _LOOK_SECONDS))
            if heard is None:
                return not stop.wait(min(left, self._poll_seconds))
            if heard:
                return True
        return False

    def _heard(self, seconds: float) -> bool | None:
        """Say whether an announcement came within so long; None where the database cannot be asked."""
        try:
            if self._listening is None:
                pooled = self._database.engine.raw_connection()
                self._listening = cast("psycopg.Connection", pooled.driver_connection)
                pooled.detach()  # for itself alone: it must not go back to the pool while it listens
                self._listening.autocommit = True
                self._listening.execute(f"LISTEN {_CHANNEL}")
                return True  # what was committed before is not announced again
            return any(True for _ in self._listening.notifies(timeout=seconds, stop_after=1))
        except (SQLAlchemyError, self._driver_error):
            self.close()
            return None
