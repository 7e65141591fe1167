"""A foundation model and a head on it, trained on phantoms once per test run and shared by all of its processes."""

from __future__ import annotations

from pathlib import Path

import torch
from filelock import FileLock

from lab.training import foundation_head
from lab.training.head_settings import HeadSettings
from tests.support import phantom_cases, quick_diffusion

STEPS, BATCH = 70, 6


def trained_head(run_folder: Path) -> Path:
    """Return the folder of a small model with a head, trained on healthy phantoms where ``run_folder`` has none yet.

    The head takes about 40 CPU-seconds of it, the model about 25.
    """
    place = run_folder / "trained-head"
    with FileLock(run_folder / "trained-head.lock"):
        if not (place / "model" / "head").is_dir():
            _train(place)
    return place / "model"


def _train(place: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cases = phantom_cases.write_cases(place / "cases", training=12, held_out=3, first_seed=500)
    model = quick_diffusion.save_model(place / "model", cases)
    settings = HeadSettings(model, cases, place / "work", steps=STEPS, batch=BATCH, threads=1, dtype="float32")
    foundation_head.train_head(settings)
    torch.set_num_threads(threads)
