"""Say what lies in a model's folder without building its networks."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from workers.errors import WeightsMismatch
from workers.foundation import inventory
from workers.foundation.card import Conditioning, ModelCard, ModelKind, read_card
from workers.foundation.checkpoint import SAFE, TORCH_FILES, read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from workers.foundation.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Inspection:
    """A folder's card and files; ``parameters`` counts the numbers in all its weight files."""

    card: ModelCard
    inventory: Inventory
    parameters: int

    @property
    def takes_text(self) -> bool:
        """Say whether the denoiser is conditioned by text."""
        return self.card.conditioning is Conditioning.TEXT


def inspect_folder(folder: Path) -> Inspection:
    """Read the card, check every file against the manifest, if any, and count the parameters.

    Raises as ``opening.open_foundation`` does for pickles, changed files and folders of no known kind.
    """
    card = read_card(folder)
    if card.kind is ModelKind.ONCUE:
        from workers.foundation.own import own_card

        card = own_card(folder, card)
    taken = inventory.take(folder)
    return Inspection(card, taken, sum(_parameters(path) for path in _weight_files(folder)))


def _weight_files(folder: Path) -> list[Path]:
    """Find the files that are read: where a folder has safetensors, its other weights are passed over."""
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
