"""A frozen torch encoder with its card: the backbone that every family becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import float32

from workers.fewshot.backbones.encoders import Encoded
from workers.fewshot.backbones.preprocessing import to_tensor
from workers.fewshot.contracts import BackboneCard, Embeddings, Picture
from workers.fewshot.finite import require_finite

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
