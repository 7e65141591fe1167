"""One gateway for each file of attacks: what one attack left behind would show in the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacked_gateway import AttackedGateway, attacked_gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[AttackedGateway]:
    with attacked_gateway(tmp_path_factory.mktemp("attacked") / "state", sqlite_template) as running:
        yield running
