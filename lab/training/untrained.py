"""The project's own model before training: the shape of its autoencoder and of its denoiser, in diffusers classes."""

from __future__ import annotations

from typing import Any

from workers.foundation.diffusers_folder import library
from workers.segmentation.grid import IMAGE_SIZE
from workers.segmentation.model import FEATURE_CHANNELS

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


def build_autoencoder() -> Any:
    """Return an untrained autoencoder."""
    return library.AutoencoderKL(**AUTOENCODER)


def build_denoiser() -> Any:
    """Return an untrained denoiser."""
    return library.UNet2DConditionModel(**DENOISER)
