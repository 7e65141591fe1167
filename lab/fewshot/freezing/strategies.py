"""The ways of freezing, and which parameters each leaves free. Blocks are found by structure, not by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from workers.errors import BackboneUnusable
from workers.fewshot.encoder_networks import TokenEncoder

RANK = 4
SCALE = 1.0
TARGETS = frozenset({"q_proj", "v_proj", "query", "value", "q", "v"})


class LowRank(torch.nn.Module):
    """A frozen linear layer with a trainable product of two thin matrices beside it."""

    def __init__(self, layer: torch.nn.Linear, *, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = layer
        down = torch.randn(RANK, layer.in_features, generator=generator) / layer.in_features**0.5
        self.down = torch.nn.Parameter(down.to(layer.weight))
        self.up = torch.nn.Parameter(torch.zeros(layer.out_features, RANK).to(layer.weight))

    def forward(self, values: Tensor) -> Tensor:
        """Add what was learned to what the layer gives."""
        given: Tensor = self.layer(values)
        return given + SCALE * linear(linear(values, self.down), self.up)


def add_low_rank(encoder: torch.nn.Module, *, generator: torch.Generator) -> None:
    """Wrap every query and value map in place; BackboneUnusable where there are none, as in a CNN."""
    found = [
        (module, name, child)
        for module in list(encoder.modules())
        for name, child in module.named_children()
        if name in TARGETS and isinstance(child, torch.nn.Linear)
    ]
    if not found:
        raise BackboneUnusable("this backbone has no attention layers to adapt: use another way of freezing than lora")
    for module, name, child in found:
        setattr(module, name, LowRank(child, generator=generator))


TOKENS = 8


class VisualPrompts(torch.nn.Module):
    """The learned tokens ``[1, TOKENS, c]``; put behind the patches, and taken off the layers' output again."""

    def __init__(self, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.tokens = torch.nn.Parameter(0.02 * torch.randn(1, TOKENS, channels, generator=generator))

    def append(self, _module: torch.nn.Module, _inputs: object, embedded: Tensor) -> Tensor:
        """ExperimentRun as a forward hook of the embeddings."""
        return torch.cat([embedded, self.tokens.to(embedded).expand(len(embedded), -1, -1)], dim=1)


class PromptedTokens(torch.nn.Module):
    """Hides the learned tokens from what reads a transformer's layers."""

    def __init__(self, network: torch.nn.Module, prompts: VisualPrompts) -> None:
        super().__init__()
        self.network, self.prompts = network, prompts

    def forward(self, **inputs: object) -> object:
        """ExperimentRun the network and cut the learned tokens off every layer."""
        output = self.network(**inputs)
        output.last_hidden_state = output.last_hidden_state[:, :-TOKENS]
        output.hidden_states = tuple(layer[:, :-TOKENS] for layer in output.hidden_states[1:])
        # The embeddings themselves are recorded before the hook or after it, depending on the family: not used.
        output.hidden_states = (output.hidden_states[0], *output.hidden_states)
        return output


def add_visual_prompts(encoder: torch.nn.Module, *, generator: torch.Generator) -> None:
    """Give a TokenEncoder learned tokens, in place; BackboneUnusable for anything else."""
    embeddings = getattr(getattr(encoder, "network", None), "embeddings", None)
    if not isinstance(encoder, TokenEncoder) or not isinstance(embeddings, torch.nn.Module):
        raise BackboneUnusable("learned tokens need a ViT or DINOv2 backbone: use another way of freezing than vpt")
    configured: Any = encoder.network
    channels = int(configured.config.hidden_size)
    prompts = VisualPrompts(channels, generator=generator)
    embeddings.register_forward_hook(prompts.append)
    encoder.network = PromptedTokens(encoder.network, prompts)


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
