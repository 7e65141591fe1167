"""A peer that is missing is a skip on a laptop and a failure where peers are required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRE_PEERS = "ONCUE_REQUIRE_PEERS"


def missing_peer(message: str) -> NoReturn:
    """Skip the test, or fail it where ONCUE_REQUIRE_PEERS=1 says that every peer must be there."""
    if os.environ.get(REQUIRE_PEERS) == "1":
        pytest.fail(message)
    pytest.skip(message)
