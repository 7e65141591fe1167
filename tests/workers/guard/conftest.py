from __future__ import annotations

import pytest
import torch

from tests.conftest import ROOT
from workers.guard.region_guard import RegionGuard, open_region_guard

MODELS = ROOT / "models"


@pytest.fixture(scope="session")
def guard() -> RegionGuard:
    return open_region_guard(MODELS, device=torch.device("cpu"))
