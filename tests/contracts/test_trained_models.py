"""Models that tests train are made anew only where what made them has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support import tiny_networks, trained_once
from tests.support.trained_once import Training

_TRAINED: list[Path] = []


def train(folder: Path) -> None:
    _TRAINED.append(folder)
    (folder / "weights").write_text("trained")


def train_otherwise(folder: Path) -> None:
    train(folder)


def _next_run(factory: pytest.TempPathFactory, training: Training) -> int:
    """Ask for the model twice in a run of its own, and return how often it was trained."""
    before = len(_TRAINED)
    folders = {trained_once.trained_once(factory, "once", training) for _ in range(2)}
    (folder,) = folders
    assert (folder / "weights").read_text() == "trained"
    shutil.rmtree(folder)
    return len(_TRAINED) - before


def test_a_model_is_trained_once_and_again_only_by_another_training(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_TEST_TRAINED", str(tmp_path / "kept"))
    trainings = [train, train, train_otherwise, train]
    assert [_next_run(tmp_path_factory, one) for one in trainings] == [1, 0, 1, 0]


def test_a_training_that_broke_off_leaves_nothing_behind(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONCUE_TEST_TRAINED", str(tmp_path / "kept"))

    def break_off(folder: Path) -> None:
        train(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_once.trained_once(tmp_path_factory, "broken-off", break_off)
    assert not (tmp_path / "kept").exists()
    assert not (trained_once.run_folder(tmp_path_factory) / "broken-off").exists()


def test_every_module_that_a_training_imports_decides_over_it() -> None:
    made_by = trained_once.sources(tiny_networks.__name__)
    assert {
        ROOT / "tests/support/tiny_networks.py",
        ROOT / "tests/support/ct_phantoms.py",
        ROOT / "storage/volumes.py",
    } <= made_by
