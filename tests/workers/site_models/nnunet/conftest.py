from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support import tiny_nnunet as tiny


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def own_copy(tiny_nnunet: Path, tmp_path: Path) -> Path:
    """Folder of a small nnU-Net that the test may write to."""
    shutil.copytree(tiny_nnunet, tmp_path / "abdomen")
    return tmp_path / "abdomen"


@pytest.fixture
def results(own_copy: Path) -> Path:
    """Where its plans, labels and folds lie."""
    return own_copy / tiny.FOLDER
