"""A bundle that was trained once for all tests of this room, and a copy of it to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import tiny_bundle


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.trained(tmp_path_factory)


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained bundle, to be changed."""
    return shutil.copytree(trained, tmp_path / "bundle")
