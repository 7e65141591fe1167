"""Puts on record what somebody at the command line read."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sqlalchemy.orm import Session

from console.terminal.actor import command_line_actor
from storage.database import Database, utc_now
from storage.errors import DatabaseUnavailable, SchemaMismatch
from storage.history.readings import Reader

_NOT_RECORDED = "this reading is not on record: the database takes no event from here"


def record_reading(database: Database, write: Callable[[Session, Reader], None]) -> None:
    """Write the event of a reading; where the database is for reading only, say on standard error that there is none.

    Whoever may open the database for reading can read it without us: to refuse would hide nothing from an auditor, and
    keep the history from one whose rights end at reading.
    """
    try:
        with database.write() as session:
            write(session, Reader(command_line_actor(), utc_now()))
    except (DatabaseUnavailable, SchemaMismatch):
        sys.stderr.write(f"oncue: {_NOT_RECORDED}\n")
    finally:
        database.dispose()
