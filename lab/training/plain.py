"""Train the plain network of the evaluation's baseline on the very lesions that the adapters learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lab.segmentation.plain_unet import PlainUNet
from lab.training import loop
from lab.training.adapters import overlap_loss
from lab.training.samples import Ahead
from workers.segmentation.backbone import channels_last

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.loop import Run
    from lab.training.samples import Sampler


def train(run: Run, sampler: Sampler, *, seed: int, dtype: torch.dtype) -> tuple[PlainUNet, bool]:
    """Train from scratch or from the checkpoint; returns the network and whether it is finished."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = channels_last(PlainUNet())
    ahead = Ahead(sampler, run.plan.batch)

    def loss_of(step: int) -> Tensor:
        batch = ahead.draw(step)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = module(images)
        return overlap_loss(logits.float(), batch.masks)

    return module, loop.optimise(run, module, loss_of)
