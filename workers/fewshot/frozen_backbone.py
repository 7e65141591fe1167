"""A frozen torch encoder with its card: the backbone that every family becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import float32
from numpy.typing import NDArray

from workers.fewshot.contracts import BackboneCard, Embeddings, Picture, require_finite
from workers.fewshot.encoder_networks import Encoded, TokenEncoder
from workers.fewshot.preprocessing import to_tensor

BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class TorchBackbone:
    """An encoder whose weights never change; the freezing study trains copies of it."""

    card: BackboneCard
    encoder: torch.nn.Module
    device: torch.device
    dtype: torch.dtype

    def embed(self, pictures: Sequence[Picture]) -> Embeddings:
        """Embed pictures of any size, in their order; raises EmbeddingNotFinite that names the first bad one."""
        if not pictures:
            raise ValueError("no picture to embed")
        batches = [self._encode(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)]
        pooled, grid = (
            np.concatenate([np.asarray(batch[part].cpu().numpy(), dtype=float32) for batch in batches])
            for part in range(2)
        )
        require_finite(pooled, what="picture")
        return Embeddings(pooled, grid)

    def _encode(self, pictures: Sequence[Picture]) -> Encoded:
        pixels = to_tensor(pictures, self.card.preprocessing).to(self.device, self.dtype)
        with torch.inference_mode():
            pooled, grid = self.encoder(pixels)
            return Encoded(pooled.float(), grid.float())


def frozen(encoder: torch.nn.Module, *, device: torch.device, dtype: torch.dtype) -> torch.nn.Module:
    """Put an encoder into evaluation mode on a device, with no gradients."""
    return encoder.eval().requires_grad_(requires_grad=False).to(device=device, dtype=dtype)


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
