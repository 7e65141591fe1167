"""Low-rank adaptation (Hu et al., 2021) of the query and value maps: ``W x + B A x``, with B starting at zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from workers.errors import BackboneUnusable

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
