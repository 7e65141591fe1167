"""Rows that whoever comes first adds, of several writers that may find them missing at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from storage.models import Model


def add_if_new(session: Session, row: type[Model], values: Mapping[str, Any]) -> bool:
    """Add a row unless one with its key is there; return whether it was added.

    Where another writer adds the same one and has not committed, this waits for it: the row is there afterwards.
    """
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    added = session.execute(insert(row).on_conflict_do_nothing().returning(*row.__mapper__.primary_key), values)
    return added.first() is not None
