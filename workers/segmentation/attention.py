"""Anomaly-aware open-vocabulary attention: text against frozen encoder features, and the head that refines it.

Everything trained on top of the frozen model is here. ``A_l = softmax_over_prompts(Q K^T / sqrt(C_l))``: queries from
adapted features ``F'_l = a T_l(F_l) + (1 - a) F_l``, keys from the prompt, and a learned null key so that the softmax
is not forced to choose. The residual head reads the adapted features, the attention maps and the pixels at full size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from workers.segmentation.backbone import FEATURE_CHANNELS

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS_FILE = "adapters.safetensors"
TEXT_WIDTH = 384
ADAPTER_SHARE = 0.5
"""The constant a of the feature adapters."""
HEAD_CHANNELS = (24, 48, 96, 128, 160)
"""Channels of the residual head at 1/1, 1/2, 1/4, 1/8 and 1/16 of the image size."""
STEM_CHANNELS = 16


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
        """The stages' attention, brought to full size and averaged: ``[n, 1, 128, 128]`` in 0..1."""
        size = self.pixels.shape[-2:]
        maps = [functional.interpolate(stage.float().sigmoid(), size, mode="bilinear") for stage in self.attention]
        return torch.stack(maps).mean(dim=0)


class AnomalyAdapters(nn.Module):
    """Feature adapters, text reducers, attention and residual head."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_AttentionStage(channels) for channels in FEATURE_CHANNELS)
        self.head = _ResidualHead()
        self.pixel_text = _text_reducer(HEAD_CHANNELS[0])
        self.slice_text = _text_reducer(HEAD_CHANNELS[-1])

    def forward(self, images: Tensor, features: list[Tensor], abnormal: Tensor, normal: Tensor) -> AnomalyLogits:
        """Score images ``[n, 1, 128, 128]`` with their frozen features against prompt vectors ``[n, 384]``."""
        adapted, attention = [], []
        for stage, level in zip(self.stages, features, strict=True):
            level_features, level_attention = stage(level, abnormal, normal)
            adapted.append(level_features)
            attention.append(level_attention)
        pixels, summary = self.head(images, adapted, attention)
        direction = self.pixel_text(abnormal) - self.pixel_text(normal)
        logits = torch.einsum("nchw,nc->nhw", pixels, direction)[:, None] / HEAD_CHANNELS[0] ** 0.5
        slice_direction = self.slice_text(abnormal) - self.slice_text(normal)
        slices = (summary * slice_direction).sum(dim=1) / HEAD_CHANNELS[-1] ** 0.5
        return AnomalyLogits(logits, tuple(attention), slices)


class _AttentionStage(nn.Module):
    """One level: adapter, query, keys, and the log-odds of the abnormal prompt against normal and null."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _Norm(8, channels)
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
    """A light U-shaped network over adapted features, attention maps and pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, STEM_CHANNELS, 3, padding=1), nn.SiLU(), _block(STEM_CHANNELS, STEM_CHANNELS)
        )
        widths = (STEM_CHANNELS, *HEAD_CHANNELS[1:3])
        self.skips = nn.ModuleList(nn.Conv2d(a + 1, b, 1) for a, b in zip(FEATURE_CHANNELS, widths, strict=True))
        self.bottom = _block(HEAD_CHANNELS[2], HEAD_CHANNELS[2])
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), _block(b, b)) for a, b in pairwise(HEAD_CHANNELS[2:])
        )
        skip_channels = (2 * STEM_CHANNELS, *HEAD_CHANNELS[1:4])
        self.ups = nn.ModuleList(
            _Up(deep, shallow, skip)
            for (shallow, deep), skip in reversed(list(zip(pairwise(HEAD_CHANNELS), skip_channels, strict=True)))
        )
        self.out = nn.Conv2d(HEAD_CHANNELS[0], HEAD_CHANNELS[0], 3, padding=1)

    def forward(self, images: Tensor, adapted: list[Tensor], attention: list[Tensor]) -> tuple[Tensor, Tensor]:
        pairs = zip(self.skips, adapted, attention, strict=True)
        fine, half, quarter = (skip(torch.cat([level, odds.tanh()], dim=1)) for skip, level, odds in pairs)
        levels = [torch.cat([fine, self.stem(images)], dim=1), half, self.bottom(quarter)]
        for down in self.downs:
            levels.append(down(levels[-1]))
        hidden = levels.pop()
        summary = hidden.amax(dim=(2, 3))
        for up in self.ups:
            hidden = up(hidden, levels.pop())
        return self.out(hidden), summary


class _Up(nn.Module):
    """One step up: fewer channels, twice the size, joined with the skip."""

    def __init__(self, deep: int, shallow: int, skip: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, skip, 1)
        self.block = _block(2 * skip, shallow)

    def forward(self, hidden: Tensor, skip: Tensor) -> Tensor:
        grown = functional.interpolate(self.reduce(hidden), skip.shape[-2:], mode="nearest")
        return torch.as_tensor(self.block(torch.cat([grown, skip], dim=1)))


class _Norm(nn.GroupNorm):
    """Group normalisation in contiguous order: torch 2.13's backward pass crashes on channels-last input here."""

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.contiguous())


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        _Norm(8, channels_out),
        nn.SiLU(),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        _Norm(8, channels_out),
        nn.SiLU(),
    )


def _text_reducer(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(TEXT_WIDTH, 96), nn.GELU(), nn.LayerNorm(96), nn.Linear(96, channels))


def save(module: AnomalyAdapters, folder: Path) -> None:
    """Write the adapters' weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.to(torch.float16).contiguous() for name, value in module.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load(folder: Path) -> AnomalyAdapters:
    """Read adapters as ``save`` wrote them, in float32 and frozen."""
    module = AnomalyAdapters()
    state = load_file(folder / WEIGHTS_FILE)
    module.load_state_dict({name: value.float() for name, value in state.items()})
    return module.eval().requires_grad_(requires_grad=False)
