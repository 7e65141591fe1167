"""Attention rollout: where the class token of a transformer drew its information from, through all layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy import float32
from numpy.typing import NDArray

from workers.fewshot.backbones.encoders import TokenEncoder
from workers.fewshot.backbones.preprocessing import to_tensor
from workers.fewshot.backbones.torch_backbone import TorchBackbone
from workers.fewshot.contracts import Picture


def attention_rollout(backbone: TorchBackbone, pictures: Sequence[Picture]) -> NDArray[float32] | None:
    """Return attention rollout (Abnar & Zuidema, 2020) of the class token ``[n, h, w]``; None for other networks."""
    encoder = backbone.encoder
    if not isinstance(encoder, TokenEncoder):
        return None
    network = encoder.network
    pixels = to_tensor(pictures, backbone.card.preprocessing).to(backbone.device, backbone.dtype)
    before = network.config._attn_implementation  # type: ignore[union-attr]  # noqa: SLF001 - the library has no public reader
    network.set_attn_implementation("eager")  # type: ignore[operator]  # faster kernels keep no attention
    try:
        with torch.inference_mode():
            layers = network(pixel_values=pixels, output_attentions=True).attentions
    finally:
        network.set_attn_implementation(before)  # type: ignore[operator]  # as above
    flow = None
    for layer in layers:
        mixed = (layer.float().mean(dim=1) + torch.eye(layer.shape[-1], device=layer.device)) / 2
        flow = mixed if flow is None else mixed @ flow
    if flow is None:
        return None
    patches = flow[:, 0, encoder.prefix :]
    side = int(patches.shape[1] ** 0.5)
    return np.asarray(patches.reshape(len(patches), side, side).cpu().numpy(), dtype=float32)
