"""Inpainting: how a stack would look without what is suspicious, and what separates the two (the residuals).

Stacks are float32 ``[z, 128, 128]`` in -1..1, residuals in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from workers.segmentation import maps, sampling, schedules

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.calibration import ModeSettings, Scales
    from workers.segmentation.maps import AnomalyMaps, OnProgress
    from workers.segmentation.model import LatentDiffusion
    from workers.segmentation.prompts import PromptPair

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

DILATION = 3
"""Pixels by which the suspicious region grows before it is redrawn."""
NOISE_SEED = 20250502
"""Seed of the one fixed noise that every slice is redrawn from."""


@dataclass(frozen=True, slots=True, eq=False)
class RedrawnSlices:
    """Some slices as the autoencoder gives them back and as they look without a region, with raw residuals."""

    decoded: FloatArray
    healthy: FloatArray
    pixel_residual: FloatArray
    feature_residual: FloatArray

    def scaled(self, scales: Scales) -> RedrawnSlices:
        """Return the slices with their residuals divided by what redrawing changes in healthy tissue."""
        return replace(
            self,
            pixel_residual=np.clip(self.pixel_residual / scales.pixel_residual, 0.0, 1.0),
            feature_residual=np.clip(self.feature_residual / scales.feature_residual, 0.0, 1.0),
        )


def inpaint_suspicious(
    diffusion: LatentDiffusion,
    found: AnomalyMaps,
    images: FloatArray,
    suspicious: BoolArray,
    *,
    prompt: PromptPair,
    settings: ModeSettings,
    scales: Scales,
    on_progress: OnProgress,
) -> AnomalyMaps:
    """Return the maps with pseudo-healthy image and residuals of every slice that has ``suspicious`` places.

    ``on_progress`` counts those slices.
    """
    rows = np.flatnonzero(suspicious.any(axis=(1, 2)))
    parts: list[RedrawnSlices] = []
    for start in range(0, len(rows), maps.BATCH):
        batch = rows[start : start + maps.BATCH]
        redrawn = redraw(diffusion, images[batch], suspicious[batch], prompt=prompt, settings=settings)
        parts.append(redrawn.scaled(scales))
        on_progress(start + len(batch), len(rows))
    return replace(
        found,
        decoded=maps.on_rows(rows, [part.decoded for part in parts], found.decoded),
        healthy=maps.on_rows(rows, [part.healthy for part in parts], found.healthy),
        pixel_residual=maps.on_rows(rows, [part.pixel_residual for part in parts], found.pixel_residual),
        feature_residual=maps.on_rows(rows, [part.feature_residual for part in parts], found.feature_residual),
    )


@torch.inference_mode()
def redraw(
    diffusion: LatentDiffusion, images: FloatArray, region: BoolArray, *, prompt: PromptPair, settings: ModeSettings
) -> RedrawnSlices:
    """Return slices ``[n, 128, 128]`` with ``region``, slightly grown, inpainted by the normal prompt."""
    grown = np.stack([ndimage.binary_dilation(plane, iterations=DILATION) for plane in region])
    latents = diffusion.encode(torch.from_numpy(images[:, None]).to(diffusion.device))
    mask = torch.from_numpy(grown[:, None]).to(latents)
    latent_mask = functional.max_pool2d(mask, 4) > 0
    healthy_latents = inpaint_healthy(diffusion, latents, latent_mask, prompt, settings=settings)
    decoded, healthy = diffusion.decode(torch.cat([latents, healthy_latents])).clamp(-1, 1).chunk(2)
    pixel = functional.avg_pool2d((decoded - healthy).abs() / 2, 3, stride=1, padding=1)
    feature = feature_residual(diffusion, decoded, healthy)
    stacks = (decoded, healthy, pixel * mask, feature * mask)
    return RedrawnSlices(*(stack[:, 0].cpu().numpy() for stack in stacks))


def inpaint_healthy(
    diffusion: LatentDiffusion, latents: Tensor, region: Tensor, prompt: PromptPair, *, settings: ModeSettings
) -> Tensor:
    """Return latents redrawn inside ``region`` by the normal prompt, from one fixed noise for every slice."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(latents.shape[1:], generator=generator).to(latents).expand_as(latents)

    def towards(z_t: Tensor, step: int) -> Tensor:
        return diffusion.denoise(z_t, step, prompt.normal_tokens.expand(len(z_t), -1, -1))

    def away(z_t: Tensor, step: int) -> Tensor:
        return diffusion.denoise(z_t, step, prompt.abnormal_tokens.expand(len(z_t), -1, -1))

    denoise = sampling.guided(towards, away, settings.guidance)
    alpha_bars = schedules.alpha_bars().to(latents)
    return sampling.inpaint(denoise, latents, region, noise, count=settings.steps, alpha_bars=alpha_bars)


def feature_residual(diffusion: LatentDiffusion, decoded: Tensor, healthy: Tensor) -> Tensor:
    """Return one minus the cosine between the encoder features of two images, averaged over stages, at full size."""
    stages = zip(diffusion.features(decoded), diffusion.features(healthy), strict=True)
    distances = [1.0 - functional.cosine_similarity(a.float(), b.float(), dim=1)[:, None] for a, b in stages]
    size = decoded.shape[-2:]
    grown = [functional.interpolate(distance, size, mode="bilinear") for distance in distances]
    return torch.stack(grown).mean(dim=0)
