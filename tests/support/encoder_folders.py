"""A folder of registered backbones and one of labelled pictures, for the tests of a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.encoders import save_encoder, write_pictures
from workers.fewshot.registry import NewBackbone, register


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for family in ("vit", "resnet"):
        saved = save_encoder(tmp_path_factory.mktemp(family), family)
        register(saved, NewBackbone(f"tiny-{family}", "MIT", commercial_use=True), models=folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "discs")
