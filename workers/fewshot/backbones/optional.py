"""Encoders of timm and open_clip from a local folder, where the extra ``hub-backbones`` is installed.

Both libraries need torchvision at import, which does not go with every torch: everything else works without them.
Preprocessing stays our own; only the architecture and the safetensors of the folder are used.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from workers.errors import BackboneMissing, BackboneUnusable
from workers.fewshot.backbones.encoders import Encoded

EXTRA = "hub-backbones"
LIBRARIES = ("timm", "open_clip")


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
