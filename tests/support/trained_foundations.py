"""Where the trained foundation models of a test run lie."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

Training = Callable[[Path], Path]
"""Writes a model into an empty folder and trains it there."""


def trained_foundation(factory: pytest.TempPathFactory, train: Training) -> Path:
    """Return the folder of a model of this test run; whichever process comes first trains it, the others wait."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / f"tiny-foundation-{train.__name__}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=root) as unfinished:
                made = Path(unfinished) / "made"
                made.mkdir()
                _on_one_thread(train, made)
                made.rename(folder)
    return folder


def _on_one_thread(train: Training, folder: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(folder)
    finally:
        torch.set_num_threads(threads)
