from __future__ import annotations

import pytest

from tests.support.tiny_networks import TinyNetworks, trained_networks


@pytest.fixture(scope="session")
def tiny_networks(tmp_path_factory: pytest.TempPathFactory) -> TinyNetworks:
    """Folders of one small network, trained once per test run, as ONNX and as TorchScript."""
    return trained_networks(tmp_path_factory)
