"""Which places of a slice the frozen denoiser's text cross-attention gives to the words of a finding.

Latents are lightly noised and denoised once with the abnormal and once with the normal caption. The attention to the
words that say "abnormal" is then compared with the attention to those that say "normal". This extends the paper after
DAAM (Tang et al. 2023); the paper's own attention maps come from the encoder (``networks``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workers.foundation.crossattention import record_cross_attention
from workers.segmentation import sampling, schedules

if TYPE_CHECKING:
    from workers.segmentation.model import LatentDiffusion
    from workers.segmentation.prompts import PromptPair

STEPS = (100, 250)
"""Training steps of 1000 at which the denoiser is run: little noise, so that the lesion is still visible."""
NOISE_SEED = 20230714


@torch.inference_mode()
def attention_ranks(model: LatentDiffusion, latents: Tensor, prompt: PromptPair) -> Tensor:
    """Return ``[n, 1, 128, 128]`` in 0..1: the rank of each place within its slice by attention to the finding."""
    abnormal = _attention(model, latents, prompt.abnormal_tokens, prompt.abnormal_positions)
    normal = _attention(model, latents, prompt.normal_tokens, prompt.normal_positions)
    ranks = _ranked(abnormal - normal)
    size = (latents.shape[-2] * 4, latents.shape[-1] * 4)
    return functional.interpolate(ranks[:, None], size, mode="bilinear")


def _attention(model: LatentDiffusion, latents: Tensor, tokens: Tensor, positions: tuple[int, ...]) -> Tensor:
    """Return the attention to the tokens at ``positions``, averaged over layers, heads and steps: ``[n, h, w]``."""
    alpha_bars = schedules.alpha_bars().to(latents)
    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(latents.shape[1:], generator=generator).to(latents).expand_as(latents)
    with record_cross_attention(model.denoiser) as recorder:
        for step in STEPS:
            noised = sampling.noise_to(latents, noise, alpha_bars[step])
            model.velocity(noised, step, tokens.expand(len(latents), -1, -1))
    return recorder.maps(positions)


def _ranked(values: Tensor) -> Tensor:
    """Return the rank of each value within its slice, 0 lowest and 1 highest."""
    flat = values.flatten(1)
    ranks = flat.argsort(dim=1).argsort(dim=1).float() / max(1, flat.shape[1] - 1)
    return ranks.view_as(values)
