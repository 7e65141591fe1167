"""A model's folder: say what lies there, and open whatever frozen diffusion model it is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import prod
from typing import TYPE_CHECKING, Protocol

from safetensors import SafetensorError, safe_open

from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.foundation.card import Conditioning, ModelCard, ModelKind, read_card
from workers.foundation.weight_files import SAFE, TORCH_FILES, Inventory, read_checkpoint, take_inventory

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from workers.foundation.contract import FoundationModel

LOADERS = {
    ModelKind.DIFFUSERS_LATENT: ("workers.foundation.diffusers_folder", "DiffusersLatent"),
    ModelKind.MONAI_LATENT: ("workers.foundation.monai_folder", "MonaiLatent"),
    ModelKind.MAISI: ("workers.foundation.monai_folder", "Maisi"),
}
"""Module and class of each kind's loader; imported only when such a model is opened."""
OF_MONAI = frozenset({ModelKind.MONAI_LATENT, ModelKind.MAISI})


class Loader(Protocol):
    """Loads one kind of model from a folder whose files have been checked."""

    def __call__(
        self, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> FoundationModel:
        """Return the model, frozen."""
        ...


def open_foundation(
    folder: Path, device: torch.device, dtype: torch.dtype, *, own: Loader | None = None
) -> FoundationModel:
    """Return the model of a folder, frozen, after every file has been checked.

    ``own`` loads the project's own kind, which this package does not know. Nothing but safetensors and plain tensors is
    read, and nothing from the network. Raises WeightsMismatch where a file differs from its manifest or does not fit
    its definition, PickleRefused where one could run code, and ModelUnsuitable where the folder is of no known kind.
    """
    card = read_card(folder)
    load = own if card.kind is ModelKind.ONCUE else _loader(card)
    if load is None:
        raise ModelUnsuitable(f"{card.name} is the project's own model: open it with the segmentation's loader")
    return load(folder, card, sha256=take_inventory(folder).sha256, device=device, dtype=dtype)


def _loader(card: ModelCard) -> Loader:
    if card.kind in OF_MONAI and find_spec("monai") is None:
        raise ModelUnsuitable(f"{card.name} needs MONAI: install oncue with its monai extra")
    module, name = LOADERS[card.kind]
    load: Loader = getattr(import_module(module), name).from_folder
    return load


@dataclass(frozen=True, slots=True)
class Inspection:
    """A folder's card and files; ``parameters`` counts the numbers in all its weight files."""

    card: ModelCard
    inventory: Inventory
    parameters: int

    @property
    def takes_text(self) -> bool:
        """Whether the denoiser is conditioned by text."""
        return self.card.conditioning is Conditioning.TEXT


def inspect_folder(folder: Path) -> Inspection:
    """Return the card, the files (checked against the manifest, if any) and the count of parameters.

    Raises as ``open_foundation`` does for pickles, changed files and folders of no known kind.
    """
    card, inventory = read_card(folder), take_inventory(folder)
    return Inspection(card, inventory, sum(_parameters(path) for path in _weight_files(folder)))


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that are read: where a folder has safetensors, its other weights are passed over."""
    safe = [path for path in folder.rglob(f"*{SAFE}") if path.is_file()]
    passed_over = {path.parent for path in safe}
    others = [path for path in folder.rglob("*") if path.suffix in TORCH_FILES and path.parent not in passed_over]
    return sorted(safe + others)


def _parameters(path: Path) -> int:
    if path.suffix != SAFE:
        return sum(weights.numel() for weights in read_checkpoint(path).weights.values())
    try:
        with safe_open(path, framework="np") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(f"{path.name} is broken: restore the file") from error
