"""Open whatever frozen diffusion model lies in a folder."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from workers.errors import ModelUnsuitable
from workers.foundation import inventory
from workers.foundation.card import ModelKind, read_card

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from workers.foundation.contract import FoundationModel

ADAPTERS = {
    ModelKind.DIFFUSERS_LATENT: ("workers.foundation.diffusers_latent", "DiffusersLatent"),
    ModelKind.DIFFUSERS_PIXEL: ("workers.foundation.diffusers_pixel", "DiffusersPixel"),
    ModelKind.MONAI_LATENT: ("workers.foundation.monai_latent", "MonaiLatent"),
    ModelKind.MAISI: ("workers.foundation.maisi", "Maisi"),
    ModelKind.ONCUE: ("workers.foundation.own", "OwnModel"),
}
"""Module and class of each kind's adapter; imported only when such a model is opened."""
OF_MONAI = frozenset({ModelKind.MONAI_LATENT, ModelKind.MAISI})


def open_foundation(folder: Path, device: torch.device, dtype: torch.dtype) -> FoundationModel:
    """Check every file of ``folder`` and load the model, frozen.

    Nothing but safetensors and plain tensors is read, and nothing from the network. Raises WeightsMismatch where a
    file differs from its manifest or does not fit its definition, PickleRefused where one could run code, and
    ModelUnsuitable where the folder is of no known kind.
    """
    card = read_card(folder)
    if card.kind in OF_MONAI and find_spec("monai") is None:
        raise ModelUnsuitable(f"{card.name} needs MONAI: install oncue with its monai extra")
    inventoried = inventory.take(folder)
    module, name = ADAPTERS[card.kind]
    adapter = getattr(import_module(module), name)
    model: FoundationModel = adapter.from_folder(folder, card, sha256=inventoried.sha256, device=device, dtype=dtype)
    return model
