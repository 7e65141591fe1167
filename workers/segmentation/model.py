"""The project's own frozen model: a small latent diffusion model in diffusers classes.

Images are float ``[n, 1, 128, 128]`` in -1..1, latents ``[n, 4, 32, 32]`` with unit variance; text is a sequence of
frozen sentence-encoder tokens ``[n, tokens, 384]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workers.devices import frozen
from workers.errors import WeightsMismatch
from workers.foundation.contract import UNCONDITIONED, Condition
from workers.foundation.diffusers_folder import LOADING, encoder_features, library
from workers.foundation.folders import open_foundation
from workers.foundation.noise import NoiseSchedule, PredictionKind, cosine_alpha_bars, diffusion
from workers.segmentation.prompts import NORMAL_CAPTION, TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from workers.foundation.card import ModelCard
    from workers.foundation.contract import FoundationModel
    from workers.foundation.noise import Denoised

FEATURE_CHANNELS = (32, 64, 96)
"""Channels of the encoder's three stages, at 1/1, 1/2 and 1/4 of the image size."""

UNPROMPTED = NORMAL_CAPTION.format(modality="image", organ="body")
"""Caption for the denoiser where no text is given: it knows no empty prompt that means "normal"."""


@dataclass(frozen=True, slots=True, eq=False)
class LatentDiffusion:
    """Autoencoder and denoiser, on one device and in one dtype."""

    autoencoder: Any
    denoiser: Any
    """None where only the autoencoder was loaded."""
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def from_folder(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> LatentDiffusion:
        """Read ``vae/`` and ``unet/`` of a diffusers folder; the manifest must have been checked before."""
        autoencoder = library.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype, **LOADING)
        denoiser = library.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype, **LOADING)
        return cls(frozen(autoencoder, device), frozen(denoiser, device), device, dtype)

    def encode(self, images: Tensor) -> Tensor:
        """Return the standardised mean latents of ``images``."""
        moments: Tensor = self.autoencoder.encode(self._arranged(images)).latent_dist.mean.float()
        return self._standardised(moments)

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images for latents as ``encode`` makes them."""
        raw = latents * self._latent_std(latents) + self._latent_mean(latents)
        images: Tensor = self.autoencoder.decode(raw.to(self.device, self.dtype)).sample.float()
        return images

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the encoder's three stages, shallow to deep: ``[n, 32|64|96, 128|64|32, ...]``."""
        return encoder_features(self.autoencoder, self._arranged(images))

    def velocity(self, latents: Tensor, step: int, tokens: Tensor) -> Tensor:
        """Return the prediction of v = a_t e - s_t z_0 (Salimans and Ho 2022) at one training step, float32."""
        if self.denoiser is None:
            raise WeightsMismatch("this model was loaded without its denoiser: load it with from_folder")
        timestep = torch.full((len(latents),), step, device=self.device)
        output = self.denoiser(
            latents.to(self.device, self.dtype), timestep, encoder_hidden_states=tokens.to(self.device, self.dtype)
        )
        predicted: Tensor = output.sample.float()
        return predicted

    def denoise(self, latents: Tensor, step: int, tokens: Tensor) -> Tensor:
        """Return the prediction of z_0 = a_t z_t - s_t v from noised latents."""
        alpha_bar = cosine_alpha_bars()[step].item()
        velocity = self.velocity(latents, step, tokens)
        return math.sqrt(alpha_bar) * latents - math.sqrt(1.0 - alpha_bar) * velocity

    def _arranged(self, images: Tensor) -> Tensor:
        return images.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def _standardised(self, raw: Tensor) -> Tensor:
        return (raw - self._latent_mean(raw)) / self._latent_std(raw)

    def _latent_mean(self, like: Tensor) -> Tensor:
        return _per_channel(self.autoencoder.config.latents_mean, like)

    def _latent_std(self, like: Tensor) -> Tensor:
        return _per_channel(self.autoencoder.config.latents_std, like)


def _per_channel(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class OwnModel:
    """A frozen ``LatentDiffusion``; images ``[n, 1, y, x]`` as ``workers.segmentation.grid`` makes them."""

    card: ModelCard
    sha256: str
    diffusion: LatentDiffusion
    text: TextEncoder
    schedule: NoiseSchedule

    @classmethod
    def from_folder(
        cls, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> OwnModel:
        """Read a folder whose files have been checked, and the packaged sentence encoder."""
        model = LatentDiffusion.from_folder(folder, device=device, dtype=dtype)
        schedule = diffusion(cosine_alpha_bars(), PredictionKind.VELOCITY)
        return cls(card, sha256, model, TextEncoder.load(), schedule)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.diffusion.device

    @property
    def spatial_dims(self) -> int:
        """Two."""
        return 2

    @property
    def image_channels(self) -> int:
        """Channels of an image."""
        channels: int = self.diffusion.autoencoder.config.out_channels
        return channels

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        channels: int = self.diffusion.autoencoder.config.latent_channels
        return channels

    @property
    def factor(self) -> int:
        """Two to the number of downsamplings."""
        return int(2 ** (len(self.diffusion.autoencoder.config.block_out_channels) - 1))

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return the standardised mean latents."""
        return self.diffusion.encode(images)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images."""
        return self.diffusion.decode(latents)

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Return the encoder's three stages."""
        return [stage.float() for stage in self.diffusion.features(images)]

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = UNCONDITIONED) -> Denoised:
        """Return estimates of z_0 and e; where nothing is said, the normal caption is taken."""
        tokens = self.describe([UNPROMPTED]) if condition.tokens is None else condition.tokens
        noisy = z_t.to(self.device).float()
        return self.schedule.denoised(
            self.diffusion.velocity(noisy, step, tokens.expand(len(noisy), -1, -1)), noisy, step
        )

    def describe(self, texts: list[str]) -> Tensor:
        """Return the tokens of the frozen sentence encoder."""
        return self.text.tokens(texts)


def open_model(folder: Path, device: torch.device, dtype: torch.dtype) -> FoundationModel:
    """Return the frozen model of a folder, the project's own or another maker's; raises as ``open_foundation`` does."""
    return open_foundation(folder, device, dtype, own=OwnModel.from_folder)
