"""A foundation model and a head on it, trained on phantoms once and shared by all processes of a test run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lab.training import foundation_head
from lab.training.head_settings import HeadSettings
from tests.support import phantom_cases, quick_diffusion
from tests.support.trained_once import trained_once

STEPS, BATCH = 70, 6


def trained_head(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small model with a head, trained on healthy phantoms.

    The head takes about 40 CPU-seconds of it, the model about 25.
    """
    return trained_once(factory, "trained-head", _train)


def _train(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        cases = phantom_cases.write_cases(Path(place) / "cases", training=12, held_out=3, first_seed=500)
        quick_diffusion.save_model(folder, cases)
        settings = HeadSettings(
            folder, cases, Path(place) / "work", steps=STEPS, batch=BATCH, threads=1, dtype="float32"
        )
        foundation_head.train_head(settings)
