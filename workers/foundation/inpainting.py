"""Redraw a region as the model would have it, in a few steps, with any foundation model, in 2D and in 3D.

DDIM without new noise (eta 0) from one fixed noise; before each step the predicted z_0 is blended with the known
latents outside the region, and the denoiser sees the known latents noised to its level by that same noise. What lies
outside the region does not change by a bit, in latents and in images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workers.foundation.contract import NOTHING_SAID, Condition
from workers.segmentation import sampling

if TYPE_CHECKING:
    from workers.foundation.contract import FoundationModel

NOISE_SEED = 20250502
FLAT = 2


@dataclass(frozen=True, slots=True, eq=False)
class Redrawing:
    """How a region is redrawn: towards ``normal``, away from ``abnormal`` by ``guidance`` (1 leaves it out).

    ``start`` is the share of the schedule at which the region starts: at 1 from pure noise, below from the mean of what
    surrounds it, noised to that level; never from what was in it.
    """

    steps: int = 10
    start: float = 1.0
    normal: Condition = NOTHING_SAID
    abnormal: Condition = NOTHING_SAID
    guidance: float = 1.0
    noise_seed: int = NOISE_SEED


@dataclass(frozen=True, slots=True, eq=False)
class PseudoHealthy:
    """The decoded original and the redrawn image ``[n, c, *size]``, equal bit for bit outside the region."""

    decoded: Tensor
    healthy: Tensor


@torch.inference_mode()
def redraw(model: FoundationModel, images: Tensor, region: Tensor, plan: Redrawing) -> PseudoHealthy:
    """Encode images, redraw the bool ``region`` ``[n, 1, *size]`` and decode both."""
    latents = model.encode(images)
    decoded = model.decode(latents)
    region = region.to(decoded.device)
    redrawn = redraw_latents(model, latents, latent_region(region, model.factor), plan)
    if redrawn is latents:
        return PseudoHealthy(decoded, decoded)
    return PseudoHealthy(decoded, torch.where(region, model.decode(redrawn), decoded))


def latent_region(region: Tensor, factor: int) -> Tensor:
    """Give the latent cells that a bool region of an image touches."""
    pool = functional.max_pool2d if region.ndim == FLAT + 2 else functional.max_pool3d
    return pool(region.float(), factor) > 0


@torch.inference_mode()
def redraw_latents(model: FoundationModel, z: Tensor, region: Tensor, plan: Redrawing) -> Tensor:
    """Redraw latents inside the bool ``region`` ``[n, 1, *grid]``; gives ``z`` itself back where there is none.

    The sampler works in variance-preserving form, in which every schedule is one of ``alpha_bars``: DDIM steps do not
    depend on the common factor of signal and noise, so rectified flows take the same steps as their Euler integration.
    """
    if not bool(region.any()):
        return z
    schedule = model.schedule
    steps = schedule.steps(plan.steps, tuple(z.shape[2:]), start=plan.start)
    noise = _fixed_noise(z, plan.noise_seed)
    denoise = sampling.guided(
        _in_context(model, z, region, noise, steps=steps, condition=plan.normal),
        _in_context(model, z, region, noise, steps=steps, condition=plan.abnormal),
        plan.guidance,
    )
    alpha_bars = schedule.alpha_bars()[torch.tensor(steps[::-1])]
    first = sampling.noise_to(_surroundings(z, region), noise, alpha_bars[-1].to(z))
    return sampling.inpaint(denoise, z, region, first, count=len(steps), alpha_bars=alpha_bars)


def _in_context(
    model: FoundationModel, z: Tensor, region: Tensor, noise: Tensor, *, steps: list[int], condition: Condition
) -> sampling.Denoise:
    """Let the sampler's denoiser, which counts the chosen steps upwards, ask the model at its own steps and scale."""

    def denoise(z_t: Tensor, index: int) -> Tensor:
        step = steps[len(steps) - 1 - index]
        alpha, sigma = model.schedule.alpha_sigma(step)
        known = model.schedule.noised(z, noise, step)
        norm = (alpha**2 + sigma**2) ** 0.5
        return model.denoise(torch.where(region, z_t * norm, known), step, condition).x0

    return denoise


def _fixed_noise(z: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(z.shape[1:], generator=generator).to(z).expand_as(z)


def _surroundings(z: Tensor, region: Tensor) -> Tensor:
    """Give the mean of the known latents of each channel, everywhere; zero where nothing is known."""
    axes = tuple(range(2, z.ndim))
    known = (~region).to(z)
    counted = known.sum(dim=axes, keepdim=True).clamp(min=1.0)
    return ((z * known).sum(dim=axes, keepdim=True) / counted).expand_as(z)
