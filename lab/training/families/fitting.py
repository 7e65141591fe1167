"""Fit a family's network: from scratch on painted lesions, or on from an earlier round with what that has marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from lab.training import loop
from lab.training.adapters import overlap_loss
from lab.training.families.asking import KindPrompts
from lab.training.families.painters import RECIPES
from lab.training.families.sampler import FamilySampler
from workers.devices import channels_last
from workers.segmentation.families import family_named
from workers.segmentation.prompts import TextEncoder
from workers.segmentation.unet import UNet

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.families.painters import Recipe
    from lab.training.loop import Run
    from lab.training.slices import SliceSet
    from workers.segmentation.families import Family


def fit(
    run: Run,
    family: Family,
    slices: SliceSet,
    *,
    seed: int,
    dtype: torch.dtype,
    recipe: Recipe | None = None,
    start: Path | None = None,
) -> tuple[UNet, bool]:
    """Train from ``start``, the run's checkpoint or scratch; returns the network and whether it is finished.

    Samples are made by the family's own ``recipe`` where none is given. What ``start`` lacks, as a network without a
    prompt does, begins from scratch.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = channels_last(UNet(family.slices, prompted=family.prompted))
    if start is not None:
        network.load_state_dict(network.state_dict() | load_file(start))
    prompts = KindPrompts.build(TextEncoder.load()) if family.prompted else None
    recipe = recipe or RECIPES[family_named(family.name)]
    sampler = FamilySampler(family, recipe, slices, seed, prompts=prompts)

    def loss_of(step: int) -> Tensor:
        batch = sampler.draw(step, run.plan.batch)
        stacks = batch.stacks.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            logits = network(stacks, batch.asked)
        return overlap_loss(logits.float(), batch.masks, batch.settled)

    return network, loop.optimise(run, network, loss_of)


def save(network: UNet, path: Path) -> None:
    """Write a network's weights in half precision; its counters stay what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, path, metadata={"format": "pt"})
