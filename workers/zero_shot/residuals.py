"""What redrawing a region as healthy changes: in pixels and in the frozen encoder's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from workers.segmentation.inpainting import Redrawing, redraw
from workers.zero_shot.suspicion import at_full_size

if TYPE_CHECKING:
    from torch import Tensor

    from workers.foundation.contract import FoundationModel
    from workers.zero_shot.conditions import ConditionPair

STEPS = 8
START = 0.8
"""Share of the noise schedule at which a region starts, from the mean of what surrounds it."""
GUIDANCE = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Redrawn:
    """Tiles as the autoencoder gives them back and with a region redrawn, and what separates them.

    Residuals are ``[n, 1, *size]``, unscaled and exactly 0 outside the region. ``decoded`` and ``healthy`` have one channel.
    """

    decoded: Tensor
    healthy: Tensor
    pixel: Tensor
    feature: Tensor


def plan(pair: ConditionPair) -> Redrawing:
    """Return how regions are redrawn: towards normal, and away from the finding where the model can be told of it."""
    if pair.abnormal is None:
        return Redrawing(STEPS, START, normal=pair.normal)
    return Redrawing(STEPS, START, normal=pair.normal, abnormal=pair.abnormal, guidance=GUIDANCE)


@torch.inference_mode()
def redrawn(model: FoundationModel, images: Tensor, region: Tensor, pair: ConditionPair) -> Redrawn:
    """Return tiles with the bool ``region`` redrawn, against the *decoded* original: the autoencoder's error cancels."""
    drawn = redraw(model, images, region, plan(pair))
    inside = region.to(drawn.decoded)
    pixel = (drawn.decoded - drawn.healthy).abs().mean(dim=1, keepdim=True)
    feature = _feature_residual(model, drawn.decoded, drawn.healthy)
    decoded, healthy = (part.mean(dim=1, keepdim=True) for part in (drawn.decoded, drawn.healthy))
    return Redrawn(decoded, healthy, pixel * inside, feature * inside)


def _feature_residual(model: FoundationModel, decoded: Tensor, healthy: Tensor) -> Tensor:
    """Return one minus the cosine between the features of two tiles, averaged over stages, at full size."""
    size = tuple(decoded.shape[2:])
    total = torch.zeros_like(decoded[:, :1])
    stages = list(zip(model.features(decoded), model.features(healthy), strict=True))
    for before, after in stages:
        distance = 1.0 - functional.cosine_similarity(before.float(), after.float(), dim=1)[:, None]
        total += at_full_size(distance, size).to(total)
    return total / len(stages)
