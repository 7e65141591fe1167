"""Diffusion models on pixels in the folder layout of ``diffusers``: a ``UNet2DModel`` and no autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workers.errors import ModelUnsuitable
from workers.foundation.contract import NOTHING_SAID, Condition
from workers.foundation.diffusers_networks import library, load_network, read_schedule

if TYPE_CHECKING:
    from pathlib import Path

    from workers.foundation.card import ModelCard, ValueRange
    from workers.foundation.noise import Denoised, NoiseSchedule

FEATURE_SHARE = 0.05
"""Share of the schedule at which features are read: little noise (Baranchuk et al. 2022), and none is added."""


@dataclass(frozen=True, slots=True, eq=False)
class DiffusersPixel:
    """A 2D diffusion model whose latents are the images themselves, brought to -1..1."""

    card: ModelCard
    sha256: str
    schedule: NoiseSchedule
    device: torch.device
    dtype: torch.dtype
    denoiser: Any

    @classmethod
    def from_folder(
        cls, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> DiffusersPixel:
        """Read ``unet/``, or the folder itself where the U-Net lies there, and the scheduler."""
        place = folder / "unet" if (folder / "unet").is_dir() else folder
        denoiser = load_network(place, library.UNet2DModel, device=device, dtype=dtype)
        return cls(card, sha256, read_schedule(folder, card), device, dtype, denoiser)

    @property
    def spatial_dims(self) -> int:
        """Two."""
        return 2

    @property
    def image_channels(self) -> int:
        """Channels of an image."""
        channels: int = self.denoiser.config.in_channels
        return channels

    @property
    def latent_channels(self) -> int:
        """The same."""
        return self.image_channels

    @property
    def factor(self) -> int:
        """One: nothing is downsampled."""
        return 1

    @property
    def value_range(self) -> ValueRange:
        """As the card says; -1 to 1 by default."""
        return self.card.value_range

    def encode(self, images: Tensor) -> Tensor:
        """Bring images from their value range to -1..1, in float32."""
        low, high = self.value_range.low, self.value_range.high
        scaled = (images.to(self.device).float() - low) / (high - low) * 2.0 - 1.0
        return scaled.expand(-1, self.image_channels, -1, -1)

    def decode(self, latents: Tensor) -> Tensor:
        """Bring latents back to the value range."""
        low, high = self.value_range.low, self.value_range.high
        return (latents.float() + 1.0) / 2.0 * (high - low) + low

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Give the U-Net's down blocks, each before it is downsampled, at little noise."""
        stages: list[Tensor] = []
        hooks = [
            block.resnets[-1].register_forward_hook(lambda _module, _inputs, output: stages.append(output.float()))
            for block in self.denoiser.down_blocks
        ]
        step = round(FEATURE_SHARE * len(self.schedule))
        try:
            self._output(self.schedule.alpha_sigma(step)[0] * self.encode(images), step, NOTHING_SAID)
        finally:
            for hook in hooks:
                hook.remove()
        return stages

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = NOTHING_SAID) -> Denoised:
        """Estimate the image and e."""
        return self.schedule.denoised(self._output(z_t, step, condition), z_t.to(self.device).float(), step)

    def describe(self, texts: list[str]) -> Tensor:
        """Refuse: such models take no text."""
        raise ModelUnsuitable(f"{self.card.name} takes no text, so {len(texts)} prompts say nothing to it")

    def attention(self, z_t: Tensor, step: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002 - the contract's form
        """Give nothing: there is no text cross-attention."""
        return None

    def _output(self, z_t: Tensor, step: int, condition: Condition) -> Tensor:
        time = self.schedule.times[step].to(self.device, torch.float32).expand(len(z_t))
        label = condition.class_label
        labels = None if label is None else torch.full((len(z_t),), label, device=self.device)
        if (labels is None) != (self.denoiser.config.num_class_embeds is None):
            raise ModelUnsuitable(f"{self.card.name} must {'' if labels is None else 'not '}be told a class")
        output: Tensor = self.denoiser(z_t.to(self.device, self.dtype), time, class_labels=labels).sample.float()
        channels = self.image_channels  # a learned variance, if any, comes in further channels
        return output[:, :channels]
