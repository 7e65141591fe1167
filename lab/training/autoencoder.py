"""Train the autoencoder: L1 and gradient error, a breath of KL, and latents standardised at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from lab.training import loop
from lab.training.samples import Ahead
from lab.training.untrained import build_autoencoder

if TYPE_CHECKING:
    from lab.training.loop import Run
    from lab.training.samples import Sampler

PAINTED = 0.5
"""Half of the slices carry lesions, so that the encoder can show one and the decoder can draw one."""
KL_WEIGHT = 1e-6
GRADIENT_WEIGHT = 0.5
STANDARDISING_BATCHES = 12


def train(run: Run, sampler: Sampler, *, seed: int, dtype: torch.dtype) -> tuple[Any, bool]:
    """Train from scratch or from the checkpoint; returns the model and whether it is finished."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_autoencoder()

    ahead = Ahead(sampler, run.plan.batch, painted=PAINTED)

    def loss_of(step: int) -> Tensor:
        images = ahead.draw(step).images.contiguous()
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            posterior = model.encode(images).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed + step))
            restored = model.decode(posterior.mean + posterior.std * noise).sample
        divergence: Tensor = posterior.kl().mean()
        return reconstruction_error(restored.float(), images) + KL_WEIGHT * divergence

    finished = loop.optimise(run, model, loss_of)
    _standardise(model, sampler, dtype)
    return model, finished


def reconstruction_error(restored: Tensor, images: Tensor) -> Tensor:
    """Mean absolute error of the pixels and of their differences along rows and columns."""
    error = functional.l1_loss(restored, images)
    for axis in (2, 3):
        error = error + GRADIENT_WEIGHT * functional.l1_loss(restored.diff(dim=axis), images.diff(dim=axis))
    return error


@torch.no_grad()
def _standardise(model: Any, sampler: Sampler, dtype: torch.dtype) -> None:
    """Write mean and deviation of the latent channels into the configuration, where diffusers keeps them."""
    latents = []
    for step in range(STANDARDISING_BATCHES):
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            images = sampler.draw(10**6 + step, 16, painted=0.0).images
            latents.append(model.encode(images).latent_dist.mean.float())
    joined = torch.cat(latents)
    model.register_to_config(
        scaling_factor=1.0,  # latents_mean and latents_std say it all
        latents_mean=[round(value, 6) for value in joined.mean(dim=(0, 2, 3)).tolist()],
        latents_std=[round(value, 6) for value in joined.std(dim=(0, 2, 3)).tolist()],
    )
