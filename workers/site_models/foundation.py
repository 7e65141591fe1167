"""Foundation diffusion models as a kind of site model: the zero-shot method, without training or with a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workers.errors import ModelUnsuitable
from workers.foundation.card import CARD_NAME, ModelKind
from workers.foundation.card import read_card as read_foundation_card
from workers.site_models.card import UNKNOWN, Limits, SiteModelCard, SiteModelKind
from workers.site_models.file_digests import take_files

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from storage.domain import Segmentation
    from storage.volumes import Volume
    from workers.site_models.kinds import AbortCheck
    from workers.site_models.model_file import ModelDescription
    from workers.zero_shot.segmenter import FoundationSegmenter

DEFAULT_PROMPT = "tumor"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


def recognises(folder: Path) -> bool:
    """Say whether a folder has a foundation model's card, or the parts of a diffusers pipeline."""
    parts = (folder / "vae" / "config.json", folder / "unet" / "config.json")
    return (folder / CARD_NAME).is_file() or all(part.is_file() for part in parts)


def read_card(folder: Path, described: ModelDescription | None) -> SiteModelCard:
    """Return the card that ``backbone.json`` and ``model.toml`` give; ModelUnsuitable where they cannot be read."""
    card = read_foundation_card(folder)
    if card.kind is ModelKind.ONCUE:
        raise ModelUnsuitable(f"{folder.name} is the project's own model: it runs as the analyser zero-shot")
    return SiteModelCard(
        kind=SiteModelKind.FOUNDATION,
        version=described.version if described else UNKNOWN,
        licence=card.licence,
        modalities=card.modalities,
        limits=described.limits.limits() if described else Limits(),
    )


@dataclass(frozen=True, slots=True)
class OpenFoundation:
    """A loaded foundation model with the method around it."""

    segmenter: FoundationSegmenter
    megabytes: float

    def segment(self, volume: Volume, *, prompt: str | None, check: AbortCheck) -> Segmentation:
        """Return what ``prompt`` names, «tumor» where a route names nothing."""
        return self.segmenter.segment(volume, prompt=prompt or DEFAULT_PROMPT, check=check)


def open_model(
    folder: Path, card: SiteModelCard, *, device: torch.device, dtype: torch.dtype, allow_code: bool
) -> OpenFoundation:
    """Load the model; raises as ``workers.foundation.folders.open_foundation`` does. It never runs code."""
    from workers.zero_shot.segmenter import FoundationSegmenter

    del card, allow_code
    weights = sum(file.bytes for file in take_files(folder) if file.path.endswith(_WEIGHTS))
    return OpenFoundation(FoundationSegmenter.load(folder, device=device, dtype=dtype), weights / 1e6)
