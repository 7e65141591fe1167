"""Where a frozen denoiser's attention to its condition lies: what changes when it is told of a finding.

Latents are noised and denoised twice, told the finding and told that all is normal. Where the finding explains them
better, the place is suspicious (the comparison is that of DiffEdit, Couairon et al. 2022; signed, as a difference of
squared errors, it is a denoiser's likelihood ratio, Li et al. 2023). That works with text and with classes, in 2D and
in 3D, and through the interface alone. A model that cannot be told of a finding is asked how far its healthy image lies
from the latents instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from workers.foundation.contract import FoundationModel
    from workers.foundation.noise import NoiseSchedule
    from workers.zero_shot.conditions import ConditionPair

SIGNALS = (0.55, 0.4, 0.25)
"""Shares of signal in the variance of a noised latent at which the denoiser is asked, the same for every schedule."""
DRAWS = 4
"""Fixed noises that each level is asked with."""
NOISE_SEED = 20220614


@torch.inference_mode()
def suspicion(model: FoundationModel, latents: Tensor, pair: ConditionPair) -> Tensor:
    """Return how suspicious each latent cell is, ``[n, 1, *grid]``, unscaled: higher is more."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    total = torch.zeros_like(latents[:, :1])
    for _ in range(DRAWS):
        noise = torch.randn(latents.shape[1:], generator=generator).to(latents).expand_as(latents)
        for step in _steps(model.schedule):
            total += _asked(model, latents, noise, step=step, pair=pair)
    return total / (DRAWS * len(SIGNALS))


def _steps(schedule: NoiseSchedule) -> list[int]:
    """Return the first steps of a schedule whose signal has fallen to ``SIGNALS``."""
    bars = schedule.alpha_bars()
    return [min(int((bars > signal).sum()), len(schedule) - 1) for signal in SIGNALS]


def _asked(model: FoundationModel, latents: Tensor, noise: Tensor, *, step: int, pair: ConditionPair) -> Tensor:
    noised = model.schedule.noised(latents, noise, step)
    normal = model.denoise(noised, step, pair.normal).x0 - latents
    error = normal.square().mean(dim=1, keepdim=True)
    if pair.abnormal is None:
        return error
    abnormal = model.denoise(noised, step, pair.abnormal).x0 - latents
    return error - abnormal.square().mean(dim=1, keepdim=True)


def at_full_size(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return maps of latent cells at the size of the images."""
    mode = "bilinear" if len(size) == 2 else "trilinear"  # noqa: PLR2004 - images or volumes
    return functional.interpolate(maps, size, mode=mode, align_corners=False)
