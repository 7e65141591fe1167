"""The project's own small model (``workers.segmentation.model``), as a foundation model like any other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workers.errors import ModelUnsuitable
from workers.foundation.card import FieldOfView, ModelCard, ValueRange
from workers.foundation.contract import NOTHING_SAID, Condition
from workers.foundation.crossattention import record_cross_attention
from workers.foundation.noise import Denoised, NoiseSchedule, PredictionKind, diffusion
from workers.segmentation import schedules
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.prompts import NORMAL_CAPTION, TextEncoder
from workers.weights import MANIFEST_NAME, read_manifest

if TYPE_CHECKING:
    from pathlib import Path

UNPROMPTED = NORMAL_CAPTION.format(modality="image", organ="body")
"""What the denoiser is told where nothing is said: it has no empty prompt that means "normal"."""
NON_COMMERCIAL = "-NC"
"""How the identifiers of Creative Commons licences say that commercial use is excluded."""
ANY_FIELD = FieldOfView(None, None)
"""Slices are framed by their content before they come here, so their field of view does not matter."""


@dataclass(frozen=True, slots=True, eq=False)
class OwnModel:
    """A frozen ``LatentDiffusion``; images ``[n, 1, y, x]`` as ``workers.segmentation.grid`` makes them."""

    card: ModelCard
    sha256: str
    backbone: LatentDiffusion
    text: TextEncoder
    schedule: NoiseSchedule

    @classmethod
    def from_folder(
        cls, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> OwnModel:
        """Read a folder whose files have been checked, and the packaged sentence encoder."""
        backbone = LatentDiffusion.from_folder(folder, device=device, dtype=dtype)
        schedule = diffusion(schedules.alpha_bars(), PredictionKind.VELOCITY)
        return cls(own_card(folder, card), sha256, backbone, TextEncoder.load(), schedule)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.backbone.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.backbone.dtype

    @property
    def spatial_dims(self) -> int:
        """Two."""
        return 2

    @property
    def image_channels(self) -> int:
        """Channels of an image."""
        channels: int = self.backbone.autoencoder.config.out_channels
        return channels

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        channels: int = self.backbone.autoencoder.config.latent_channels
        return channels

    @property
    def factor(self) -> int:
        """Two to the number of downsamplings."""
        return int(2 ** (len(self.backbone.autoencoder.config.block_out_channels) - 1))

    @property
    def value_range(self) -> ValueRange:
        """Minus 1 to 1."""
        return self.card.value_range

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Give the standardised mean latents."""
        return self.backbone.encode(images)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Give float32 images."""
        return self.backbone.decode(latents)

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Give the encoder's three stages."""
        return [stage.float() for stage in self.backbone.features(images)]

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = NOTHING_SAID) -> Denoised:
        """Estimate z_0 and e; where nothing is said, the normal caption is taken."""
        tokens = self.describe([UNPROMPTED]) if condition.tokens is None else condition.tokens
        noisy = z_t.to(self.device).float()
        return self.schedule.denoised(
            self.backbone.velocity(noisy, step, tokens.expand(len(noisy), -1, -1)), noisy, step
        )

    def describe(self, texts: list[str]) -> Tensor:
        """Give the tokens of the frozen sentence encoder."""
        return self.text.tokens(texts)

    def attention(self, z_t: Tensor, step: int, tokens: Tensor) -> Tensor | None:
        """Record one pass of the denoiser."""
        if self.backbone.denoiser is None:
            raise ModelUnsuitable(f"{self.card.name} was loaded without its denoiser")
        with record_cross_attention(self.backbone.denoiser) as recorder:
            self.denoise(z_t, step, Condition(tokens=tokens))
        return recorder.tokens()


def own_card(folder: Path, card: ModelCard) -> ModelCard:
    """Complete the card of one of the project's own folders from its manifest."""
    view = card.field_of_view or ANY_FIELD
    if not (folder / MANIFEST_NAME).is_file():
        return replace(card, field_of_view=view)
    manifest = read_manifest(folder)
    commercial = False if NON_COMMERCIAL in manifest.licence else card.commercial_use
    return replace(card, name=manifest.name, licence=manifest.licence, commercial_use=commercial, field_of_view=view)
