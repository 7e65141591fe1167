"""A small latent diffusion model in diffusers classes, trained for seconds on healthy phantoms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor
from torch.nn import functional

from lab.patients import Role
from lab.training import foundation_head
from tests.support.tiny_models import write_card
from workers.foundation.folders import open_foundation

library: Any = diffusers  # its classes carry only part of their types

SIDE = 64
CODER_STEPS, DENOISER_STEPS, BATCH = 90, 90, 8
ANY_VIEW = {"extent_mm": None, "spacing_mm": None}


def save_model(folder: Path, cases: Path) -> Path:
    """Train autoencoder and denoiser on the slices of healthy cases, and save them as a pipeline's folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        coder, denoiser = _autoencoder(), _denoiser()
    scheduler = library.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    scheduler.save_pretrained(folder / "scheduler")
    write_card(folder, "diffusers-latent", modalities=["MR"], field_of_view=ANY_VIEW, options={"size": SIDE})
    _save(folder, coder, denoiser)
    untrained = open_foundation(folder, torch.device("cpu"), torch.float32)
    healthy = foundation_head.load(cases, Role.TRAIN, untrained, modality="MR")
    images = torch.from_numpy(healthy.images)[:, None]
    _train_autoencoder(coder, images)
    _train_denoiser(denoiser, coder, images, scheduler)
    _save(folder, coder, denoiser)
    return folder


def _save(folder: Path, coder: Any, denoiser: Any) -> None:
    coder.save_pretrained(folder / "vae")
    denoiser.save_pretrained(folder / "unet")


def _autoencoder() -> Any:
    return library.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 24),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )


def _denoiser() -> Any:
    return library.UNet2DModel(
        sample_size=SIDE // 4,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=16,
    )


def _train_autoencoder(coder: Any, images: Tensor) -> None:
    optimiser = torch.optim.AdamW(coder.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(CODER_STEPS):
        batch = images[torch.randint(len(images), (BATCH,), generator=generator)]
        posterior = coder.encode(batch).latent_dist
        restored = coder.decode(posterior.mode()).sample
        loss = functional.l1_loss(restored, batch) + 1e-6 * posterior.kl().mean()
        _step(optimiser, loss)
    with torch.no_grad():
        coder.register_to_config(scaling_factor=float(1.0 / coder.encode(images[:64]).latent_dist.mode().std()))


def _train_denoiser(denoiser: Any, coder: Any, images: Tensor, scheduler: Any) -> None:
    with torch.no_grad():
        latents = coder.encode(images).latent_dist.mode() * coder.config.scaling_factor
    optimiser = torch.optim.AdamW(denoiser.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(DENOISER_STEPS):
        clean = latents[torch.randint(len(latents), (2 * BATCH,), generator=generator)]
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(1000, (len(clean),), generator=generator)
        predicted = denoiser(scheduler.add_noise(clean, noise, times), times).sample
        _step(optimiser, functional.mse_loss(predicted, noise))


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch ships this method unannotated
    optimiser.step()
