"""Open an nnU-Net folder on the processor, and change what its files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.support import tiny_nnunet as tiny
from workers.site_models.model_file import read_model_file
from workers.site_models.nnunet import kind as nnunet

CPU = torch.device("cpu")


def opened(folder: Path, *, allow_code: bool = False) -> nnunet.NnunetModel:
    """Return the model of a folder as a worker opens it."""
    card = nnunet.read_card(folder, read_model_file(folder))
    return nnunet.open_model(folder, card, device=CPU, dtype=torch.float32, allow_code=allow_code)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds, in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_configuration(results: Path, change: Callable[[Any], object]) -> None:
    """Change the configuration in the plans of a folder."""
    edit(results / "plans.json", lambda plans: change(plans["configurations"][tiny.CONFIGURATION]))


def change_checkpoint(results: Path, **noted: object) -> None:
    """Write entries into the checkpoint of the first fold."""
    path = results / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | noted, path)
