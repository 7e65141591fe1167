"""The trained networks on top of the frozen autoencoder: text attention on its features, and a residual head.

At each stage l of the frozen encoder, ``A_l = softmax_over_prompts(Q K^T / sqrt(C_l))``. The queries come from adapted
features ``F'_l = a T_l(F_l) + (1 - a) F_l``. The keys are the abnormal prompt, the normal prompt, and a learned null
key for places that neither prompt describes. The residual head refines this: it takes the adapted features, the
attention maps and the pixels at full size, and scores every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from workers.errors import WeightsMismatch
from workers.segmentation.model import FEATURE_CHANNELS

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS_FILE = "adapters.safetensors"
FOLDERS = ("adapters", "first-round", "second-reading")
"""Folders of a model's networks, whose scores are averaged: the refined one, the one that it was refined from, and one
trained apart from both. A model has the first and any of the others."""
TEXT_WIDTH = 384
ADAPTER_SHARE = 0.5
"""The constant a of the feature adapters."""
HEAD_CHANNELS = (24, 48, 96, 128, 192)
"""Channels of the residual head at 1/1, 1/2, 1/4, 1/8 and 1/16 of the image size."""
SKIP_CHANNELS = 16
"""Channels to which the frozen features of each stage, and the pixels, are reduced before they are joined."""
CONTEXT = 3
"""Slices that the head takes: the one to be scored between the ones below and above it."""
MOST_STAGES = len(HEAD_CHANNELS)
"""The head has no level for features that are shrunken further."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What a network takes: features with ``channels`` at 1/1, 1/2, 1/4 ... of the size, and ``context`` slices.

    There are one to ``MOST_STAGES`` stages, and an odd number of slices with the one to be scored in their middle.
    """

    channels: tuple[int, ...] = FEATURE_CHANNELS
    context: int = CONTEXT

    @property
    def views(self) -> tuple[int, ...]:
        """How often the head takes each stage: once as it is, and the deepest also mirrored."""
        return (*(1 for _ in self.channels[1:]), 2)


OWN_SHAPE = NetworkShape()
"""That of the networks on the project's own model."""


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyLogits:
    """Logits of "abnormal" for one prompt pair.

    ``pixels`` ``[n, 1, 128, 128]`` from the residual head, ``attention`` one map per encoder stage (log-odds of the
    softmax), ``slices`` ``[n]`` for the whole image.
    """

    pixels: Tensor
    attention: tuple[Tensor, ...]
    slices: Tensor

    @property
    def attention_map(self) -> Tensor:
        """Mean of the stages' attention at full size: ``[n, 1, 128, 128]`` in 0..1."""
        size = self.pixels.shape[-2:]
        maps = [functional.interpolate(stage.float().sigmoid(), size, mode="bilinear") for stage in self.attention]
        return torch.stack(maps).mean(dim=0)


class AnomalyNetwork(nn.Module):
    """Feature adapters, text reducers, attention and residual head; the names of its parts are stored."""

    def __init__(self, shape: NetworkShape = OWN_SHAPE) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_AttentionStage(channels) for channels in shape.channels)
        self.head = _ResidualHead(shape)
        self.pixel_text = _text_reducer(HEAD_CHANNELS[0])
        self.slice_text = _text_reducer(HEAD_CHANNELS[-1])

    def forward(self, stacks: Tensor, features: list[Tensor], abnormal: Tensor, normal: Tensor) -> AnomalyLogits:
        """Return logits for the middle slices of ``stacks [n, context, y, x]`` against prompt vectors ``[n, 384]``.

        ``features`` are the frozen encoder's stages of the middle slices alone. ``y`` and ``x`` are multiples of 16.
        """
        adapted, attention = [], []
        for stage, level in zip(self.stages, features, strict=True):
            level_features, level_attention = stage(level, abnormal, normal)
            adapted.append(level_features)
            attention.append(level_attention)
        pixels, summary = self.head(stacks, adapted, attention)
        direction = self.pixel_text(abnormal) - self.pixel_text(normal)
        logits = torch.einsum("nchw,nc->nhw", pixels, direction)[:, None] / HEAD_CHANNELS[0] ** 0.5
        slice_direction = self.slice_text(abnormal) - self.slice_text(normal)
        slices = (summary * slice_direction).sum(dim=1) / HEAD_CHANNELS[-1] ** 0.5
        return AnomalyLogits(logits, tuple(attention), slices)


class _AttentionStage(nn.Module):
    """One level: adapter, query, keys, and the log-odds of the abnormal prompt against normal and null."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.adapter = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1))
        self.query = nn.Conv2d(channels, channels, 1)
        self.text = _text_reducer(channels)
        self.null = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor, abnormal: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
        level = self.norm(features)
        adapted = ADAPTER_SHARE * self.adapter(level) + (1 - ADAPTER_SHARE) * level
        keys = torch.stack([self.text(abnormal), self.text(normal), self.null.expand(len(features), -1)], dim=1)
        scores = torch.einsum("nchw,nkc->nkhw", self.query(adapted), keys) / features.shape[1] ** 0.5
        log_odds = scores[:, :1] - torch.logsumexp(scores[:, 1:], dim=1, keepdim=True)
        return adapted, log_odds


class _ResidualHead(nn.Module):
    """A light U-shaped network over adapted features, attention maps and the pixels of neighbouring slices.

    It also takes the slice and its deepest features mirrored: a tumour seldom has a counterpart on the other side of
    the body. Its wide part works at half size and below, since a convolution at full size costs four times as much.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        full, half = HEAD_CHANNELS[:2]
        stages = len(shape.channels)
        self.stem = nn.Conv2d(4 * (shape.context + 1), SKIP_CHANNELS, 3, padding=1)
        self.skips = nn.ModuleList(
            nn.Conv2d(views * channels + 1, SKIP_CHANNELS, 1)
            for views, channels in zip(shape.views, shape.channels, strict=True)
        )
        self.first = _block((1 + min(stages, 2)) * SKIP_CHANNELS, half)
        self.downs = nn.ModuleList(_Down(a, b, extra) for a, b, extra in _steps_down(stages))
        self.ups = nn.ModuleList(_Up(deep, shallow) for shallow, deep in reversed(list(pairwise(HEAD_CHANNELS[1:]))))
        self.grow = nn.Conv2d(half, full, 1)
        self.last = nn.Sequential(
            nn.Conv2d(full + SKIP_CHANNELS + shape.context, full, 3, padding=1, bias=False),
            nn.BatchNorm2d(full),
            nn.ReLU(inplace=True),
        )
        self.out = nn.Conv2d(full, full, 1)

    def forward(self, stacks: Tensor, adapted: list[Tensor], attention: list[Tensor]) -> tuple[Tensor, Tensor]:
        fine, *deeper = self._reduced(adapted, attention)
        at = self.shape.context // 2
        middle = stacks[:, at : at + 1]
        seen = torch.cat([stacks, middle.flip(-1)], dim=1)
        pixels = self.stem(functional.pixel_unshuffle(seen, 2).contiguous(memory_format=torch.channels_last))
        levels = [self.first(torch.cat([pixels, functional.avg_pool2d(fine, 2), *deeper[:1]], dim=1))]
        for down, extra in zip_longest(self.downs, deeper[1:]):
            levels.append(down(levels[-1], extra))
        hidden = levels.pop()
        summary = hidden.amax(dim=(2, 3))
        for up in self.ups:
            hidden = up(hidden, levels.pop())
        grown = functional.interpolate(self.grow(hidden), scale_factor=2, mode="bilinear")
        return self.out(self.last(torch.cat([grown, fine, stacks.to(grown.dtype)], dim=1))), summary

    def _reduced(self, adapted: list[Tensor], attention: list[Tensor]) -> list[Tensor]:
        """Return each stage with its attention, and the deepest also mirrored, in ``SKIP_CHANNELS`` channels."""
        reduced = []
        for skip, level, odds, count in zip(self.skips, adapted, attention, self.shape.views, strict=True):
            views = (level, level.flip(-1))[:count]
            reduced.append(skip(torch.cat([*views, odds.tanh()], dim=1)))
        return reduced


def _steps_down(stages: int) -> list[tuple[int, int, int]]:
    """Return channels before, channels after and extra channels of each step down from half size."""
    steps = pairwise(HEAD_CHANNELS[1:])
    return [(a, b, SKIP_CHANNELS if stage < stages else 0) for stage, (a, b) in enumerate(steps, start=2)]


class _Down(nn.Module):
    """One step down: half the size, more channels, joined with the frozen features of that size where given."""

    def __init__(self, shallow: int, deep: int, extra: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(shallow, deep, 3, stride=2, padding=1)
        self.block = _block(deep + extra, deep)

    def forward(self, hidden: Tensor, extra: Tensor | None) -> Tensor:
        shrunk = self.shrink(hidden)
        return torch.as_tensor(self.block(shrunk if extra is None else torch.cat([shrunk, extra], dim=1)))


class _Up(nn.Module):
    """One step up: twice the size, fewer channels, joined with the level of that size on the way down."""

    def __init__(self, deep: int, shallow: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, shallow, 1)
        self.block = _block(2 * shallow, shallow)

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        grown = functional.interpolate(self.reduce(hidden), scale_factor=2, mode="nearest")
        return torch.as_tensor(self.block(torch.cat([grown, skip], dim=1)))


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def _text_reducer(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(TEXT_WIDTH, 96), nn.GELU(), nn.LayerNorm(96), nn.Linear(96, channels))


def save(module: AnomalyNetwork, folder: Path) -> None:
    """Write a network: weights in half precision, the statistics of its normalisation as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(stored(module), folder / WEIGHTS_FILE, metadata={"format": "pt"})


def stored(module: AnomalyNetwork) -> dict[str, Tensor]:
    """Return what is stored of a network, by name."""
    weights = {name for name, _ in module.named_parameters()}
    return {
        name: (value.to(torch.float16) if name in weights else value).contiguous()
        for name, value in module.state_dict().items()
    }


def load_all(folder: Path) -> tuple[AnomalyNetwork, ...]:
    """Return all networks of a model in the order of ``FOLDERS``; raises WeightsMismatch."""
    first, *others = (folder / name for name in FOLDERS)
    return (load(first), *(load(other) for other in others if other.is_dir()))


def load(folder: Path) -> AnomalyNetwork:
    """Return a network as ``save`` wrote it, in float32 and frozen; WeightsMismatch where it does not fit."""
    module = AnomalyNetwork()
    state = load_file(folder / WEIGHTS_FILE)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsMismatch(f"{WEIGHTS_FILE} of {folder.name} does not fit this version of oncue") from error
    return module.eval().requires_grad_(requires_grad=False)
