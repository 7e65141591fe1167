"""Statements compiled once per process, and not once more for each database that a test makes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from storage import database

_MOST = 2000


def compile_once(patch: pytest.MonkeyPatch) -> None:
    """Have all engines of one kind share what they compiled, as a process that stays shares it over its one engine.

    SQLAlchemy keeps compiled statements in the engine and in the mappers, under the dialect object. There is one
    release of each database in a test run, so two dialects of one class compile to the same.
    """
    kept: LRUCache[Any, Any] = LRUCache(_MOST)

    def with_kept(url: str, **options: Any) -> Engine:
        engine = create_engine(url, **options)
        engine._compiled_cache = kept  # its own option keeps them for each engine anew
        return engine

    patch.setattr(database, "create_engine", with_kept)
    for dialect in (SQLiteDialect_pysqlite, PGDialect_psycopg):
        patch.setattr(dialect, "__eq__", _is_of_the_same_class)
        patch.setattr(dialect, "__hash__", _hash_of_the_class)


def _is_of_the_same_class(dialect: DefaultDialect, other: object) -> bool:
    return type(dialect) is type(other)


def _hash_of_the_class(dialect: DefaultDialect) -> int:
    return hash(type(dialect))
