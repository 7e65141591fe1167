"""Train adapters, attention and residual head on painted lesions, against prompts; no tumour mask is ever read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.training import loop
from lab.training.lesions import LesionKind
from lab.training.samples import Ahead
from workers.devices import channels_last
from workers.segmentation import prompts
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.networks import AnomalyLogits, AnomalyNetwork

if TYPE_CHECKING:
    from lab.training.loop import Run
    from lab.training.samples import Batch, Sampler
    from workers.segmentation.prompts import TextEncoder

ATTENTION_WEIGHT = 0.3
SLICE_WEIGHT = 0.2

GENERAL_PROMPTS = (
    "tumor", "tumour", "brain tumor", "lesion", "mass", "glioma", "neoplasm", "cancer", "abnormality", "oedema",
    "abnormal tissue", "a suspicious region", "pathology", "glioblastoma", "metastasis", "intracranial mass",
)  # fmt: skip # reads by its lines
BRIGHT_PROMPTS = ("hyperintense lesion", "bright lesion", "bright tumor", "hyperintensity")
DARK_PROMPTS = ("hypointense lesion", "dark lesion", "cyst", "hypointensity")
SPECIFIC_SHARE = 0.3
"""Share of samples asked with a prompt that names the brightness; the others ask for any lesion."""
_PLAIN_SORTS = (LesionKind.NONE, LesionKind.BRIGHT, LesionKind.DARK)
"""Findings of one brightness or none; of the others nobody could say which they are."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptTable:
    """Prompt vectors by sort, each ``[n, 384]``."""

    general: Tensor
    bright: Tensor
    dark: Tensor
    normal: Tensor

    @classmethod
    def build(cls, encoder: TextEncoder) -> PromptTable:
        """Encode all training prompts once."""
        groups = (GENERAL_PROMPTS, BRIGHT_PROMPTS, DARK_PROMPTS, prompts.NORMAL_PROMPTS)
        return cls(*(torch.stack([encoder.prompt(words) for words in group]) for group in groups))


def train(
    run: Run,
    backbone: LatentDiffusion,
    sampler: Sampler,
    encoder: TextEncoder,
    *,
    seed: int,
    start: AnomalyNetwork | None = None,
) -> tuple[AnomalyNetwork, bool]:
    """Train on frozen features, from scratch or from ``start``; returns the module and whether it is finished."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = channels_last(start or AnomalyNetwork()).train().requires_grad_(requires_grad=True)
    table = PromptTable.build(encoder)
    normal = table.normal.mean(dim=0)

    ahead = Ahead(sampler, run.plan.batch)

    def loss_of(step: int) -> Tensor:
        batch = ahead.draw(step)
        abnormal, wanted = ask(batch, table, np.random.default_rng((seed, 5, step)))
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            features = backbone.features(images)
        with torch.autocast("cpu", backbone.dtype, enabled=backbone.dtype is not torch.float32):
            logits = module(batch.stacks, features, abnormal, normal.expand(len(images), -1))
        return loss(logits, batch.masks * wanted.view(-1, 1, 1, 1), batch.settled)

    return module, loop.optimise(run, module, loss_of)


def ask(batch: Batch, table: PromptTable, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Draw a prompt for each sample, and tell (0 or 1) whether its lesions are what the prompt asks for."""
    prompts, wanted = [], []
    for kind in batch.kinds:
        group, answer = table.general, 1.0
        if kind in _PLAIN_SORTS and rng.random() < SPECIFIC_SHARE:
            bright = rng.random() < 0.5  # noqa: PLR2004 - either brightness is asked for as often
            group = table.bright if bright else table.dark
            answer = float(kind is (LesionKind.BRIGHT if bright else LesionKind.DARK))
        prompts.append(group[rng.integers(len(group))])
        wanted.append(answer)
    return torch.stack(prompts), torch.tensor(wanted)


def loss(logits: AnomalyLogits, masks: Tensor, settled: Tensor) -> Tensor:
    """Add BCE and Dice of the head, of every attention map, and BCE of the slice score, where it is ``settled``."""
    total = overlap_loss(logits.pixels.float(), masks, settled)
    for stage in logits.attention:
        size = (stage.shape[-2], stage.shape[-1])
        shrunk, known = (functional.adaptive_avg_pool2d(part, size) for part in (masks, settled))
        total = total + ATTENTION_WEIGHT / len(logits.attention) * overlap_loss(stage.float(), shrunk, known)
    present = masks.flatten(1).amax(dim=1)
    known = torch.maximum(present, settled.flatten(1).amin(dim=1))
    return total + SLICE_WEIGHT * functional.binary_cross_entropy_with_logits(logits.slices.float(), present, known)


def overlap_loss(logits: Tensor, masks: Tensor, settled: Tensor | None = None) -> Tensor:
    """Binary cross-entropy plus soft Dice per sample (empty masks are judged by the cross-entropy alone).

    ``settled`` weighs the pixels, 0 to 1; all count the same where it is None.
    """
    weight = torch.ones_like(masks) if settled is None else settled
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, masks, weight)
    probability, wanted = logits.sigmoid() * weight, masks * weight
    overlap = (probability * wanted).sum(dim=(1, 2, 3))
    size = probability.sum(dim=(1, 2, 3)) + wanted.sum(dim=(1, 2, 3))
    filled = wanted.sum(dim=(1, 2, 3)) > 0
    dice = (1.0 - (2.0 * overlap + 1.0) / (size + 1.0)) * filled
    return cross_entropy + dice.sum() / filled.sum().clamp(min=1)
