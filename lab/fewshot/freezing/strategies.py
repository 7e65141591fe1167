"""The ways of freezing, and which parameters each leaves free. Blocks are found by structure, not by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import torch

from lab.fewshot.freezing.low_rank import add_low_rank
from lab.fewshot.freezing.visual_prompts import add_visual_prompts
from workers.errors import BackboneUnusable

LAST_BLOCKS = 2
_DEPTH = 5


class Freeze(StrEnum):
    """How much of the backbone learns."""

    ALL = "freeze_all"
    LAST = "last_k"
    """The last two blocks and the norms after them."""
    FULL = "full"
    LORA = "lora"
    PROMPTS = "vpt"


@dataclass(frozen=True, slots=True)
class Trainable:
    """What a strategy leaves free: number of values, and a digest of the parameters' names for the record."""

    count: int
    names_sha256: str


def apply(encoder: torch.nn.Module, freeze: Freeze, *, generator: torch.Generator) -> Trainable:
    """Free the parameters of a strategy in place and put every batch norm into evaluation mode.

    Batch statistics of a few examples are noise: the norms keep those they were trained with.
    """
    encoder.requires_grad_(requires_grad=False).eval()
    if freeze is Freeze.FULL:
        encoder.requires_grad_(requires_grad=True)
    elif freeze is Freeze.LAST:
        _free_last(encoder)
    elif freeze is Freeze.LORA:
        add_low_rank(encoder, generator=generator)
    elif freeze is Freeze.PROMPTS:
        add_visual_prompts(encoder, generator=generator)
    free = sorted((name, one.numel()) for name, one in encoder.named_parameters() if one.requires_grad)
    names = hashlib.sha256("\n".join(name for name, _ in free).encode()).hexdigest()
    return Trainable(sum(count for _, count in free), names)


def blocks_of(encoder: torch.nn.Module) -> torch.nn.ModuleList:
    """Return the list of blocks with the most parameters, at most five modules down."""
    lists = [
        (sum(one.numel() for one in module.parameters()), name, module)
        for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) > 1 and name.count(".") < _DEPTH
    ]
    if not lists:
        raise BackboneUnusable("no list of blocks was found in this backbone: use freeze_all or full")
    return max(lists, key=lambda entry: (entry[0], entry[1]))[2]


def _free_last(encoder: torch.nn.Module) -> None:
    blocks = blocks_of(encoder)
    for block in list(blocks)[-LAST_BLOCKS:]:
        block.requires_grad_(requires_grad=True)
    for name, module in encoder.named_modules():
        if name.rsplit(".", 1)[-1] in {"layernorm", "post_layernorm", "visual_projection", "_conv_head", "_bn1"}:
            module.requires_grad_(requires_grad=True)
