"""A small U-shaped convolutional network: what families' networks and the evaluation's plain network are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (16, 32, 64, 96, 128)
TEXT = 384
"""Length of the vector of a text."""
MULTIPLE = 2 ** (len(CHANNELS) - 1)
"""Rows and columns of what the network is given are multiples of this."""


class UNet(nn.Module):
    """From ``[n, c, y, x]`` in -1..1 to logits of "lesion" ``[n, 1, y, x]``; ``c`` neighbouring slices or maps.

    A ``prompted`` network is also told what to look for, ``asked [n, 384]``: by how much the vector of a text differs
    from that of "normal". That scales and shifts the deepest features, which know where in the picture they are, and
    its product with the vector of a pixel is added to that pixel's logit.
    """

    def __init__(self, inputs: int = 1, *, prompted: bool = False) -> None:
        super().__init__()
        self.downs = nn.ModuleList(_block(a, b) for a, b in pairwise((inputs, *CHANNELS)))
        self.ups = nn.ModuleList(_block(a + b, a) for a, b in reversed(list(pairwise(CHANNELS))))
        self.out = nn.Conv2d(CHANNELS[0], 1, 1)
        self.context = _silent(nn.Linear(TEXT, 2 * CHANNELS[-1])) if prompted else None
        self.query = _silent(nn.Linear(TEXT, CHANNELS[0])) if prompted else None

    def forward(self, images: Tensor, asked: Tensor | None = None) -> Tensor:
        """Return the logit of each pixel; a network that is not prompted has no use for ``asked``."""
        levels = list(self._levels(images))
        hidden = self._told(levels.pop(), asked)
        for up in self.ups:
            grown = functional.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = up(torch.cat([grown, levels.pop()], dim=1))
        logits: Tensor = self.out(hidden)
        if self.query is None or asked is None:
            return logits
        weights: Tensor = self.query(asked)[:, :, None, None]
        return logits + (hidden * weights).sum(dim=1, keepdim=True)

    def features(self, images: Tensor, levels: int) -> Tensor:
        """Return the features of the level that is reached by so many steps downwards."""
        return next(islice(self._levels(images), levels - 1, None))

    def _told(self, hidden: Tensor, asked: Tensor | None) -> Tensor:
        if self.context is None or asked is None:
            return hidden
        gain, shift = self.context(asked)[:, :, None, None].chunk(2, dim=1)
        told: Tensor = hidden * (1.0 + gain) + shift
        return told

    def _levels(self, images: Tensor) -> Iterator[Tensor]:
        hidden = images
        for depth, down in enumerate(self.downs):
            hidden = down(functional.max_pool2d(hidden, 2) if depth else hidden)
            yield hidden


def _silent(layer: nn.Linear) -> nn.Linear:
    """Return a layer that says nothing before it has learned."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first, last in ((channels_in, channels_out), (channels_out, channels_out)):
        layers += [nn.Conv2d(first, last, 3, padding=1, bias=False), nn.BatchNorm2d(last), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
