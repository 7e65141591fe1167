"""One gateway for each file of attacks: what one attack left behind would show in the next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.attacked_gateway import AttackedGateway, attacked_gateway
from tests.support.attacked_tls import Secured, attacked_tls


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[AttackedGateway]:
    folder = tmp_path_factory.mktemp("attacked") / "state"
    with attacked_gateway(folder, sqlite_template, maximum_instance_megabytes=32) as running:
        yield running


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Secured]:
    with attacked_tls(tmp_path_factory.mktemp("secured"), sqlite_template) as running:
        yield running
