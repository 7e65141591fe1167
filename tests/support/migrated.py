"""A migrated SQLite database, made once per process: the migrations take most of a small test's time."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from storage import migrate
from storage.database import connect

FILE = "oncue.sqlite"


def put_database(state: Path) -> Path:
    """Put a migrated database into a state folder, which is made where it is missing, and return its file."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = state / FILE
    file.write_bytes(_migrated())
    return file


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / FILE
        database = connect(f"sqlite:///{file}")
        migrate.upgrade(database)
        database.dispose()
        return file.read_bytes()
