"""Samplers as plain functions, in the symbols of the papers: z_t = a_t z_0 + s_t e.

``denoise(z_t, t)`` predicts z_0; ``alpha_bars[t]`` is a_t squared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workers.foundation.noise import timesteps

Denoise = Callable[[Tensor, int], Tensor]


def noise_to(z_0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return z_t = a_t z_0 + s_t e."""
    return alpha_bar.sqrt() * z_0 + (1.0 - alpha_bar).sqrt() * noise


def ddim_step(z_t: Tensor, z_0: Tensor, alpha_bar: Tensor, alpha_bar_next: Tensor) -> Tensor:
    """Return z at an earlier step, without new noise (Song et al. 2021, eq. 12 with sigma 0)."""
    noise = (z_t - alpha_bar.sqrt() * z_0) / (1.0 - alpha_bar).sqrt()
    return noise_to(z_0, noise, alpha_bar_next)


def inpaint(denoise: Denoise, z: Tensor, region: Tensor, noise: Tensor, *, count: int, alpha_bars: Tensor) -> Tensor:
    """Return ``z`` redrawn from noise inside the bool ``region``; the denoiser always sees a clean context.

    The predicted z_0 is blended with ``z`` outside the region before each DDIM step. The result equals ``z`` bit for
    bit outside ``region``, and is fixed by ``noise``.
    """
    alpha_bars = alpha_bars.to(z)
    steps = timesteps(count, steps=len(alpha_bars))
    z_t, z_0 = noise, z
    for index, step in enumerate(steps):
        z_0 = torch.where(region, denoise(torch.where(region, z_t, z), step), z)
        if index + 1 < len(steps):
            z_t = ddim_step(z_t, z_0, alpha_bars[step], alpha_bars[steps[index + 1]])
    return z_0


def guided(towards: Denoise, away: Denoise, scale: float) -> Denoise:
    """Return predictions led towards one prompt, away from another (Ho and Salimans 2022); 1 is ``towards`` alone."""
    if scale == 1.0:
        return towards

    def denoise(z_t: Tensor, step: int) -> Tensor:
        wanted, unwanted = towards(z_t, step), away(z_t, step)
        return unwanted + scale * (wanted - unwanted)

    return denoise
