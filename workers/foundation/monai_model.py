"""What every latent model on MONAI's networks shares: its parts, and the way into its latents and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workers.foundation.card import ModelCard, ValueRange
    from workers.foundation.monai_networks import MonaiAutoencoder
    from workers.foundation.noise import NoiseSchedule


@dataclass(frozen=True, slots=True, eq=False)
class MonaiModel:
    """A MONAI autoencoder and denoiser with the card and the schedule of their folder."""

    card: ModelCard
    sha256: str
    schedule: NoiseSchedule
    autoencoder: MonaiAutoencoder
    denoiser: Any
    latent_channels: int

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.autoencoder.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the computation; the weights are float32."""
        return self.autoencoder.dtype

    @property
    def image_channels(self) -> int:
        """Channels of a decoded image or volume."""
        return self.autoencoder.image_channels

    @property
    def factor(self) -> int:
        """By how much an image is larger than its latent."""
        return self.autoencoder.factor

    @property
    def value_range(self) -> ValueRange:
        """As the card says; MONAI's bundles and MAISI are mostly trained on 0 to 1."""
        return self.card.value_range

    def encode(self, images: Tensor) -> Tensor:
        """Give the mean latents times the scale factor (MAISI itself samples: about a quarter of their variance)."""
        return self.autoencoder.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Give float32 images."""
        return self.autoencoder.decode(latents)

    def features(self, images: Tensor) -> list[Tensor]:
        """Give the encoder's stages, shallow to deep (of MAISI blocks 2, 5 and 8, at 1/1, 1/2 and 1/4 of the size)."""
        return self.autoencoder.features(images)
