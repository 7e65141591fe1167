"""Anomaly maps of a stack: what the trained networks and the denoiser's attention find suspicious, before any decision.

Stacks are float32 ``[z, 128, 128]``; images in -1..1, maps in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workers.segmentation.cross_attention import attention_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from workers.segmentation.calibration import Fusion
    from workers.segmentation.model import LatentDiffusion
    from workers.segmentation.networks import AnomalyNetwork
    from workers.segmentation.prompts import PromptPair

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]
    Rows = NDArray[np.intp]

OnProgress = Callable[[int, int], None]
"""Called with the steps that are done and the steps in all."""

BATCH = 8
"""Slices that go through the models at once."""
LEAST_COVERED = 0.03
"""Share of a slice that the skull must cover: below it a slice shows nothing."""
LEAST_OF_LARGEST = 0.35
"""Share of the skull's largest area that it must cover: below it a slice shows but bone and scalp."""
NEIGHBOUR_MM = 5.0
"""How far below and above a slice its neighbours are taken: the networks were trained on thick slices."""


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The frozen diffusion model, and the networks trained on top of it, whose answers are averaged."""

    diffusion: LatentDiffusion
    networks: tuple[AnomalyNetwork, ...]


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyMaps:
    """What is suspicious in a stack, before any threshold; slices that show too little are 0.

    ``head`` is the score of the networks' residual head, ``attention`` their text attention, ``cross_attention`` the
    denoiser's; ``slices`` ``[z]`` scores whole slices. ``decoded`` and ``healthy`` are the stack as the autoencoder
    gives it back and as it looks inpainted; both are the images themselves where nothing was inpainted. The residuals
    between the two are divided by what inpainting changes in healthy tissue.
    """

    head: FloatArray
    attention: FloatArray
    cross_attention: FloatArray
    slices: FloatArray
    decoded: FloatArray
    healthy: FloatArray
    pixel_residual: FloatArray
    feature_residual: FloatArray

    @property
    def residual(self) -> FloatArray:
        """The mean of pixel and feature residual."""
        return np.asarray((self.pixel_residual + self.feature_residual) / 2.0, dtype=np.float32)

    def fused(self, fusion: Fusion) -> FloatArray:
        """Return the weighted sum of the five maps."""
        return np.asarray(
            fusion.head * self.head
            + fusion.attention * self.attention
            + fusion.cross_attention * self.cross_attention
            + fusion.pixel_residual * self.pixel_residual
            + fusion.feature_residual * self.feature_residual,
            dtype=np.float32,
        )


def shown_slices(skull: BoolArray) -> Rows:
    """Return the slices whose ``skull`` mask ``[z, y, x]`` covers enough to be worth scoring."""
    covered = skull.mean(axis=(1, 2))
    return np.flatnonzero(covered >= max(LEAST_COVERED, LEAST_OF_LARGEST * covered.max(initial=0.0)))


def compute(
    models: Models,
    images: FloatArray,
    rows: Rows,
    prompt: PromptPair,
    *,
    spacing_z_mm: float,
    mirrored: bool,
    denoiser_attention: bool,
    on_progress: OnProgress,
) -> AnomalyMaps:
    """Return the maps of the slices ``rows`` of a stack; nothing is inpainted yet.

    ``mirrored`` averages the networks' answers with those on the mirror image; ``denoiser_attention`` asks for the
    cross-attention map, which stays 0 otherwise. ``on_progress`` counts the slices.
    """
    batches: list[_NetworkMaps] = []
    attended: list[FloatArray] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        batches.append(_network_maps(models, with_neighbours(images, batch, spacing_z_mm), prompt, mirrored=mirrored))
        if denoiser_attention:
            attended.append(_cross_attention(models.diffusion, images[batch], prompt))
        on_progress(start + len(batch), len(rows))
    nothing = np.zeros_like(images)
    return AnomalyMaps(
        head=on_rows(rows, [part.head for part in batches], nothing),
        attention=on_rows(rows, [part.attention for part in batches], nothing),
        cross_attention=on_rows(rows, attended, nothing),
        slices=on_rows(rows, [part.slices for part in batches], np.zeros(len(images), np.float32)),
        decoded=images,
        healthy=images,
        pixel_residual=nothing,
        feature_residual=nothing,
    )


def on_rows(rows: Rows, parts: Sequence[FloatArray], rest: FloatArray) -> FloatArray:
    """Return ``rest`` with the slices ``rows`` replaced by ``parts``, in order; ``rest`` itself without parts."""
    if not parts:
        return rest
    whole = rest.copy()
    whole[rows] = np.concatenate(parts)
    return whole


def with_neighbours(images: FloatArray, rows: Rows, spacing_z_mm: float) -> FloatArray:
    """Return slices between those about 5 mm below and above, or themselves at the ends: ``[n, 3, y, x]``."""
    distance = max(1, round(NEIGHBOUR_MM / spacing_z_mm))
    below, above = rows - distance, rows + distance
    order = np.stack([np.where(below < 0, rows, below), rows, np.where(above >= len(images), rows, above)], axis=1)
    return np.asarray(images[order], dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _NetworkMaps:
    """Head and attention ``[n, 128, 128]`` and slice scores ``[n]`` of some slices."""

    head: FloatArray
    attention: FloatArray
    slices: FloatArray


@torch.inference_mode()
def _network_maps(models: Models, stacks: FloatArray, prompt: PromptPair, *, mirrored: bool) -> _NetworkMaps:
    tensor = torch.from_numpy(stacks).to(models.diffusion.device)
    answers = [_probabilities(models, tensor, prompt)]
    if mirrored:
        head, attention, slices = _probabilities(models, tensor.flip(-1), prompt)
        answers.append((head.flip(-1), attention.flip(-1), slices))
    head, attention, slices = (torch.stack(part).mean(dim=0) for part in zip(*answers, strict=True))
    return _NetworkMaps(head[:, 0].cpu().numpy(), attention[:, 0].cpu().numpy(), slices.cpu().numpy())


def _probabilities(models: Models, stacks: Tensor, prompt: PromptPair) -> tuple[Tensor, Tensor, Tensor]:
    """Return head ``[n, 1, y, x]``, attention of that shape and slice scores ``[n]``, averaged over the networks."""
    diffusion, count = models.diffusion, len(stacks)
    abnormal, normal = prompt.abnormal.expand(count, -1), prompt.normal.expand(count, -1)
    with torch.autocast(diffusion.device.type, diffusion.dtype, enabled=diffusion.dtype is not torch.float32):
        features = diffusion.features(stacks[:, 1:2])
        answers = [network(stacks, features, abnormal, normal) for network in models.networks]
    pixels = torch.stack([answer.pixels.float().sigmoid() for answer in answers]).mean(dim=0)
    attention = torch.stack([answer.attention_map.float() for answer in answers]).mean(dim=0)
    return pixels, attention, torch.stack([answer.slices.float().sigmoid() for answer in answers]).mean(dim=0)


def _cross_attention(diffusion: LatentDiffusion, images: FloatArray, prompt: PromptPair) -> FloatArray:
    latents = diffusion.encode(torch.from_numpy(images[:, None]).to(diffusion.device))
    return np.asarray(attention_ranks(diffusion, latents, prompt)[:, 0].float().cpu().numpy())
