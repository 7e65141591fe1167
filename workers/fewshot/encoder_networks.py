"""What a network of any family is to us: pixels in, one vector and a grid of vectors out.

Pixels are float ``[n, 3, y, x]``, vectors ``[n, d]``, grids ``[n, h, w, c]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from math import isqrt
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.errors import BackboneMissing, BackboneUnusable

EXTRA = "hub-backbones"
"""What brings timm and open_clip; both need a torchvision that fits the installed torch."""
LIBRARIES = ("timm", "open_clip")


class Encoded(NamedTuple):
    """One vector and one grid for each picture."""

    pooled: Tensor
    grid: Tensor


class TokenPart(StrEnum):
    """What is taken from the tokens of one layer."""

    CLASS = "class"
    MEAN = "mean"
    SPREAD = "spread"
    """Standard deviation over the patches."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Which layers of a transformer make the vector, and which make the grid; 0 is the last one, after its norm."""

    layers: tuple[int, ...] = (0,)
    parts: tuple[TokenPart, ...] = (TokenPart.CLASS,)
    grid_layers: tuple[int, ...] = (0,)


class TokenEncoder(torch.nn.Module):
    """A vision transformer whose first ``prefix`` tokens are the class token and registers."""

    def __init__(self, network: torch.nn.Module, feature: Feature, *, prefix: int) -> None:
        super().__init__()
        self.network, self.feature, self.prefix = network, feature, prefix

    def forward(self, pixels: Tensor) -> Encoded:
        """Concatenate the unit vectors of each chosen layer and part."""
        output = self.network(pixel_values=pixels, output_hidden_states=True)
        layers = {layer: self._tokens(output, layer) for layer in {*self.feature.layers, *self.feature.grid_layers}}
        blocks = [self._part(layers[layer], part) for layer in self.feature.layers for part in self.feature.parts]
        patches = [normalize(layers[layer][:, self.prefix :].float(), dim=-1) for layer in self.feature.grid_layers]
        return Encoded(torch.cat(blocks, dim=-1), _as_grid(torch.cat(patches, dim=-1)))

    @staticmethod
    def _tokens(output: object, layer: int) -> Tensor:
        if layer == 0:
            return output.last_hidden_state  # type: ignore[attr-defined, no-any-return]  # the library's output classes differ by family
        return output.hidden_states[layer]  # type: ignore[attr-defined, no-any-return]  # as above

    def _part(self, tokens: Tensor, part: TokenPart) -> Tensor:
        patches = tokens[:, self.prefix :].float()
        if part is TokenPart.CLASS:
            return normalize(tokens[:, 0].float(), dim=-1)
        value = patches.mean(dim=1) if part is TokenPart.MEAN else patches.std(dim=1)
        return normalize(value, dim=-1)


class ContrastiveEncoder(torch.nn.Module):
    """The vision tower of CLIP with its projection: the vector lies in the same space as the texts."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Encoded:
        """Give the projected vector, and the patches of the last layer."""
        output = self.network.vision_model(pixel_values=pixels)  # type: ignore[operator]  # a submodule by name
        projected = self.network.visual_projection(output.pooler_output)  # type: ignore[operator]  # as above
        return Encoded(projected.float(), _as_grid(output.last_hidden_state[:, 1:].float()))


class MapEncoder(torch.nn.Module):
    """A network that ends in a feature map: a CNN, or Swin with its tokens in rows."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Encoded:
        """Pool the last map by its mean."""
        output = self.network(pixel_values=pixels)
        last = output.last_hidden_state.float()
        grid = last.permute(0, 2, 3, 1) if last.ndim == 4 else _as_grid(last)  # noqa: PLR2004 - [n, c, h, w]
        pooled = getattr(output, "pooler_output", None)
        return Encoded(grid.mean(dim=(1, 2)) if pooled is None else pooled.float().flatten(1), grid)


def _as_grid(tokens: Tensor) -> Tensor:
    count, cells, channels = tokens.shape
    side = isqrt(cells)
    return tokens.reshape(count, side, side, channels)


class TimmEncoder(torch.nn.Module):
    """A timm model without its classifier."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Encoded:
        """Take the library's own pooling, and its last features as the grid."""
        features = self.network.forward_features(pixels)
        pooled: Tensor = self.network.forward_head(features, pre_logits=True)
        return Encoded(pooled.float(), _grid(features, int(getattr(self.network, "num_prefix_tokens", 0))))


class OpenClipEncoder(torch.nn.Module):
    """The vision tower of an open_clip model; the grid is a single cell, towers differ too much in their tokens."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Encoded:
        """Give the projected vector."""
        pooled: Tensor = self.network.encode_image(pixels).float()
        return Encoded(pooled, pooled[:, None, None])


def load_optional(folder: Path, library: str) -> torch.nn.Module:
    """Build the encoder of a folder in ``local-dir`` form; BackboneMissing where the library cannot be imported."""
    if library not in LIBRARIES:
        raise BackboneUnusable(f"{library} is not one of {', '.join(LIBRARIES)}")
    if not any(folder.glob("*.safetensors")):
        raise BackboneUnusable(
            f"{folder.name} holds no safetensors: pickled weights are not loaded, convert them first"
        )
    module = _imported(library)
    if library == "timm":
        return TimmEncoder(module.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0))
    return OpenClipEncoder(module.create_model(f"local-dir:{folder}"))


def _imported(library: str) -> ModuleType:
    try:
        return import_module(library)
    except (ImportError, RuntimeError) as error:
        raise BackboneMissing(
            f"{library} cannot be imported ({type(error).__name__}): install oncue[{EXTRA}] with a torchvision that "
            "fits the installed torch"
        ) from error


def _grid(features: Tensor, prefix: int) -> Tensor:
    if features.ndim == 4:  # noqa: PLR2004 - a map, channels first in CNNs, last in Swin
        channels_last = features.shape[1] == features.shape[2]
        return (features if channels_last else features.permute(0, 2, 3, 1)).float()
    patches = features[:, prefix:].float()
    side = round(patches.shape[1] ** 0.5)
    return patches.reshape(len(patches), side, -1, patches.shape[2])
