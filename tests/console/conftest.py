"""A state folder whose database and object store hold whatever a test records."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from console.installation import Installation, open_installation
from storage.database import Database
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Place:
    """A prepared state folder."""

    state: Path
    installation: Installation

    @property
    def database(self) -> Database:
        return self.installation.database

    @property
    def objects(self) -> ObjectStore:
        return self.installation.objects


@pytest.fixture
def place(tmp_path: Path, sqlite_template: Path) -> Iterator[Place]:
    """Return a prepared state folder on SQLite."""
    (tmp_path / "state").mkdir()
    shutil.copy(sqlite_template, tmp_path / "state" / "oncue.sqlite")
    installation = open_installation(tmp_path / "state", flags={"storage": {"reserve_megabytes": 0}})
    installation.prepare()
    yield Place(tmp_path / "state", installation)
    installation.database.dispose()


@pytest.fixture
def anywhere(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Return a prepared state folder whose database is SQLite, then PostgreSQL, named as an operator would."""
    monkeypatch.setenv("ONCUE_STORAGE_DATABASE_URL", database_url)
    monkeypatch.setenv("ONCUE_STORAGE_RESERVE_MEGABYTES", "0")
    installation = open_installation(tmp_path / "state")
    installation.prepare()
    yield Place(tmp_path / "state", installation)
    installation.database.dispose()
