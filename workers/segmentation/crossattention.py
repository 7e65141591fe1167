"""The second attention provider: where the frozen denoiser's text cross-attention looks for a finding.

Our extension after DAAM (Tang et al. 2023); the paper's own maps come from the encoder (``attention``). Latents are
lightly noised, denoised once with the abnormal and once with the normal caption, and the attention to the words
that say "abnormal" is compared with the attention to those that say "normal".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from workers.foundation.crossattention import record_cross_attention
from workers.segmentation import sampling, schedules

if TYPE_CHECKING:
    from workers.segmentation.backbone import LatentDiffusion
    from workers.segmentation.maps import PromptPair

STEPS = (100, 250)
"""Training steps of 1000 at which the denoiser is asked: little noise, so that the lesion is still to be seen."""
NOISE_SEED = 20230714


@torch.inference_mode()
def look(backbone: LatentDiffusion, latents: Tensor, prompt: PromptPair) -> Tensor:
    """Give ``[n, 1, 128, 128]`` in 0..1: the rank of each place of its slice by attention to the finding."""
    abnormal = _attention(backbone, latents, prompt.abnormal_tokens, prompt.abnormal_places)
    normal = _attention(backbone, latents, prompt.normal_tokens, prompt.normal_places)
    ranks = _ranked(abnormal - normal)
    size = (latents.shape[-2] * 4, latents.shape[-1] * 4)
    return functional.interpolate(ranks[:, None], size, mode="bilinear")


def _attention(backbone: LatentDiffusion, latents: Tensor, tokens: Tensor, places: tuple[int, ...]) -> Tensor:
    """Average the attention to the words at ``places`` over layers, heads and noise levels: ``[n, h, w]``."""
    alpha_bars = schedules.alpha_bars().to(latents)
    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(latents.shape[1:], generator=generator).to(latents).expand_as(latents)
    with record_cross_attention(backbone.denoiser) as recorder:
        for step in STEPS:
            noised = sampling.noise_to(latents, noise, alpha_bars[step])
            backbone.velocity(noised, step, tokens.expand(len(latents), -1, -1))
    return recorder.maps(places)


def _ranked(values: Tensor) -> Tensor:
    """Replace values by their rank within their slice, 0 lowest and 1 highest."""
    flat = values.flatten(1)
    ranks = flat.argsort(dim=1).argsort(dim=1).float() / max(1, flat.shape[1] - 1)
    return ranks.view_as(values)
