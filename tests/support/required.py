"""A peer that is missing is a skip on a laptop and a failure where peers are required."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from pathlib import Path

REQUIRE_PEERS = "ONCUE_REQUIRE_PEERS"


def missing_peer(message: str) -> NoReturn:
    """Skip the test, or fail it where ONCUE_REQUIRE_PEERS=1 says that every peer must be there."""
    if os.environ.get(REQUIRE_PEERS) == "1":
        pytest.fail(message)
    pytest.skip(message)


def present(folder: Path) -> Path:
    """Return a folder of the real images, or skip the test where this copy of them lacks it."""
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not among the real images: point ONCUE_TEST_DATA at all of them")
    return folder
