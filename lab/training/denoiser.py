"""Train the text-conditioned latent denoiser: v-prediction, half of the samples noised only inside a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from lab.training import loop
from lab.training.fields import FieldBank
from lab.training.lesions import LesionKind
from lab.training.untrained import build_denoiser
from workers.foundation.noise import cosine_alpha_bars
from workers.segmentation import prompts
from workers.segmentation.model import LatentDiffusion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.training.loop import Run
    from lab.training.samples import Sampler
    from workers.segmentation.prompts import Subject, TextEncoder

POOL = 4096
"""Latents encoded once and drawn from at random."""
PAINTED = 0.3
NULL_SHARE = 0.1
KIND_WORDS = {
    LesionKind.BRIGHT: "hyperintense tumor",
    LesionKind.DARK: "hypointense lesion",
    LesionKind.MIXED: "necrotic tumor",
    LesionKind.FOREIGN: "abnormal tissue",
}


def caption(subject: Subject, kind: LesionKind) -> str:
    """Put into words what a slice shows."""
    if kind is LesionKind.NONE:
        return prompts.NORMAL_CAPTION.format(modality=subject.modality, organ=subject.organ)
    return prompts.ABNORMAL_CAPTION.format(modality=subject.modality, organ=subject.organ, finding=KIND_WORDS[kind])


@dataclass(frozen=True, slots=True, eq=False)
class LatentPool:
    """Latents ``[n, 4, 32, 32]`` and the row of the caption table that fits each; the table ends with the null text."""

    latents: Tensor
    captions: Tensor
    table: Tensor


def train(
    run: Run, backbone: LatentDiffusion, sampler: Sampler, encoder: TextEncoder, *, seed: int
) -> tuple[Any, bool]:
    """Train the denoiser on latents of the frozen autoencoder; returns the model and whether it is finished."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_denoiser()
    # The fused attention kernel's backward pass takes half of the whole step on a processor; eager attention does not.
    model.set_attn_processor(AttnProcessor())
    pool = _latents(backbone, sampler, encoder)
    bank = FieldBank(np.random.default_rng((seed, 3)), size=32)
    alpha_bars = cosine_alpha_bars().float()

    def loss_of(step: int) -> Tensor:
        return _loss(model, pool, bank, alpha_bars, draw=(seed, step), batch=run.plan.batch, dtype=backbone.dtype)

    finished = loop.optimise(run, model, loss_of)
    return model, finished


@torch.no_grad()
def _latents(backbone: LatentDiffusion, sampler: Sampler, encoder: TextEncoder) -> LatentPool:
    latents, captions = [], []
    for step in range(POOL // 16):
        batch = sampler.draw(2 * 10**6 + step, 16, painted=PAINTED)
        latents.append(backbone.encode(batch.images))
        subjects = (sampler.slices.subjects[row] for row in batch.rows)
        captions += [caption(subject, kind) for subject, kind in zip(subjects, batch.kinds, strict=True)]
    known = sorted(set(captions))
    rows = torch.tensor([known.index(words) for words in captions])
    return LatentPool(torch.cat(latents), rows, encoder.tokens([*known, ""]))


def _loss(
    model: Any,
    pool: LatentPool,
    bank: FieldBank,
    alpha_bars: Tensor,
    *,
    draw: tuple[int, int],
    batch: int,
    dtype: torch.dtype,
) -> Tensor:
    rng = np.random.default_rng((draw[0], 4, draw[1]))
    generator = torch.Generator().manual_seed(draw[0] * 10**9 + draw[1])
    rows = torch.from_numpy(rng.integers(0, len(pool.latents), batch))
    null = torch.from_numpy(rng.random(batch) < NULL_SHARE)
    captions = torch.where(null, len(pool.table) - 1, pool.captions[rows])
    clean = pool.latents[rows]
    steps = torch.from_numpy(rng.integers(0, len(alpha_bars), batch))
    noise = torch.randn(clean.shape, generator=generator)
    region = torch.from_numpy(np.stack([_region(bank, rng, whole=index % 2 == 0) for index in range(batch)]))[:, None]
    alpha = alpha_bars[steps].sqrt().view(-1, 1, 1, 1)
    sigma = (1.0 - alpha_bars[steps]).sqrt().view(-1, 1, 1, 1)
    noised = torch.where(region, alpha * clean + sigma * noise, clean)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        velocity = model(noised, steps, encoder_hidden_states=pool.table[captions]).sample
    error = (velocity.float() - (alpha * noise - sigma * clean)).square()
    inside: Tensor = (error * region).sum() / (region.sum() * clean.shape[1])
    return inside


def _region(bank: FieldBank, rng: np.random.Generator, *, whole: bool) -> NDArray[np.bool_]:
    """Draw where noise goes: everywhere, or inside a random smooth region with the context left clean."""
    if whole:
        return np.ones((32, 32), dtype=bool)
    field = bank.draw(rng, float(rng.choice((2.0, 4.0, 8.0))))
    rows, columns = np.mgrid[:32, :32]
    centre, radius = rng.uniform(6, 26, 2), rng.uniform(2.5, 11.0)
    region = np.hypot(rows - centre[0], columns - centre[1]) < radius * (1.0 + 0.4 * field)
    region[int(centre[0]), int(centre[1])] = True
    return np.asarray(region, dtype=bool)
