"""Adding and removing models: one at a time, and nothing of a failed attempt stays."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from storage import site_models
from storage.database import Database
from storage.errors import RecordExists
from tests.support.tiny_networks import TinyNetworks
from workers.errors import WeightsMismatch
from workers.site_models.file_digests import require_unchanged
from workers.site_models.installing import ModelPlace, add_model


@pytest.fixture
def place(sqlite_database: Database, tmp_path: Path) -> ModelPlace:
    return ModelPlace(tmp_path / "state", sqlite_database, torch.device("cpu"), torch.float32)


def test_of_two_who_add_one_name_at_once_one_has_it_whole(place: ModelPlace, tiny_networks: TinyNetworks) -> None:
    def add(number: int) -> bool:
        try:
            add_model(place, tiny_networks.onnx, "liver", actor=f"shell-{number}")
        except RecordExists:
            return False
        return True

    with ThreadPoolExecutor(4) as shells:
        assert sorted(shells.map(add, range(4))) == [False, False, False, True]
    with place.database.read() as session:
        model = site_models.find(session, "liver")
    require_unchanged(site_models.folder(place.state, "liver"), model.files)


def test_a_refusal_names_the_model_as_its_site_does(
    place: ModelPlace, tiny_networks: TinyNetworks, tmp_path: Path
) -> None:
    broken = shutil.copytree(tiny_networks.onnx, tmp_path / "published")
    (broken / "model.onnx").write_bytes(b"")
    with pytest.raises(WeightsMismatch, match=r"model\.onnx of liver holds no network"):
        add_model(place, broken, "liver", actor="shell")


def test_what_a_killed_attempt_left_goes_with_the_next(place: ModelPlace, tiny_networks: TinyNetworks) -> None:
    models = place.state / "models"
    for left in (models / ".adding" / "lung", models / "liver"):
        left.mkdir(parents=True)
        (left / "model.onnx").write_bytes(b"half")
    model = add_model(place, tiny_networks.onnx, "liver", actor="shell")
    require_unchanged(models / "liver", model.files)
    assert {path.name for path in models.iterdir()} == {".lock", "liver"}
