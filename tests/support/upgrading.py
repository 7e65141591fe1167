"""An upgrade in a process of its own: Alembic keeps its context in module globals, so threads would share it."""

from __future__ import annotations

from storage import migrate
from storage.database import connect


def upgrade(url: str) -> None:
    database = connect(url)
    migrate.upgrade(database)
    database.dispose()
