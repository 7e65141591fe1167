"""The frozen foundation model: a small latent diffusion model in diffusers classes.

Images are float ``[n, 1, 128, 128]`` in -1..1, latents ``[n, 4, 32, 32]`` with unit variance; text is a sequence of
frozen sentence-encoder tokens ``[n, tokens, 384]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import diffusers
import torch
from torch import Tensor, nn

from workers.errors import WeightsMismatch
from workers.segmentation import schedules
from workers.segmentation.grid import IMAGE_SIZE

if TYPE_CHECKING:
    from pathlib import Path

LOADING: dict[str, Any] = {"use_safetensors": True, "low_cpu_mem_usage": False, "local_files_only": True}
"""Never pickles, never the network; and without ``accelerate``, which diffusers would else recommend at each start."""
ModuleType = TypeVar("ModuleType", bound=nn.Module)
library: Any = diffusers  # its classes carry only part of their types

FEATURE_CHANNELS = (32, 64, 96)
"""Channels of the encoder's three stages, at 1/1, 1/2 and 1/4 of the image size."""

AUTOENCODER: dict[str, Any] = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": FEATURE_CHANNELS,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 16,
    "sample_size": IMAGE_SIZE,
    "mid_block_add_attention": False,
}
DENOISER: dict[str, Any] = {
    "sample_size": IMAGE_SIZE // 4,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (64, 128, 192),
    "layers_per_block": 1,
    "norm_num_groups": 16,
    "attention_head_dim": 32,
    "cross_attention_dim": 128,
    "encoder_hid_dim": 384,
    "encoder_hid_dim_type": "text_proj",
}


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

    @classmethod
    def autoencoder_only(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> LatentDiffusion:
        """Read ``vae/`` alone, for the training of what stands on it; such a model cannot denoise."""
        autoencoder = library.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype, **LOADING)
        return cls(frozen(autoencoder, device), None, device, dtype)

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
        alpha_bar = schedules.alpha_bars()[step].item()
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


def encoder_features(autoencoder: Any, images: Tensor) -> list[Tensor]:
    """Return the output of each stage of an encoder's down path before it is downsampled."""
    hidden = autoencoder.encoder.conv_in(images)
    stages = []
    for block in autoencoder.encoder.down_blocks:
        for resnet in block.resnets:
            hidden = resnet(hidden, temb=None)
        stages.append(hidden)
        for downsampler in block.downsamplers or ():
            hidden = downsampler(hidden)
    return stages


def build_autoencoder() -> Any:
    """Return an untrained autoencoder."""
    return library.AutoencoderKL(**AUTOENCODER)


def build_denoiser() -> Any:
    """Return an untrained denoiser."""
    return library.UNet2DConditionModel(**DENOISER)


def channels_last(module: ModuleType) -> ModuleType:
    """Arrange convolution weights as processors like them (torch's annotations do not know the argument)."""
    untyped: Any = module
    untyped.to(memory_format=torch.channels_last)
    return module


def frozen(module: ModuleType, device: torch.device) -> ModuleType:
    """Put a module on its device in evaluation mode, its weights fixed."""
    return channels_last(module.to(device=device)).eval().requires_grad_(requires_grad=False)
