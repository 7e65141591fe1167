"""Inpainting: how an image would look without what is suspicious, and what separates the two (the residuals).

``inpaint_suspicious`` does so for the segmenter with the project's own model; its stacks are float32 ``[z, 128, 128]``
in -1..1, its residuals in 0..1. ``redraw`` does so with any foundation model, in 2D and in 3D: DDIM without new noise
(eta 0) from one fixed noise, where the denoiser sees the context noised to the level of each step. What lies outside
the region does not change by a bit, in latents and in images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from workers.foundation.contract import UNCONDITIONED, Condition
from workers.foundation.noise import cosine_alpha_bars
from workers.segmentation import maps, sampling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.foundation.contract import FoundationModel
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
FLAT = 2


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
        redrawn = redraw_slices(diffusion, images[batch], suspicious[batch], prompt=prompt, settings=settings)
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
def redraw_slices(
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
    noise = _fixed_noise(latents, NOISE_SEED)

    def towards(z_t: Tensor, step: int) -> Tensor:
        return diffusion.denoise(z_t, step, prompt.normal_tokens.expand(len(z_t), -1, -1))

    def away(z_t: Tensor, step: int) -> Tensor:
        return diffusion.denoise(z_t, step, prompt.abnormal_tokens.expand(len(z_t), -1, -1))

    denoise = sampling.guided(towards, away, settings.guidance)
    alpha_bars = cosine_alpha_bars().to(latents)
    return sampling.inpaint(denoise, latents, region, noise, count=settings.steps, alpha_bars=alpha_bars)


def feature_residual(diffusion: LatentDiffusion, decoded: Tensor, healthy: Tensor) -> Tensor:
    """Return one minus the cosine between the encoder features of two images, averaged over stages, at full size."""
    stages = zip(diffusion.features(decoded), diffusion.features(healthy), strict=True)
    distances = [1.0 - functional.cosine_similarity(a.float(), b.float(), dim=1)[:, None] for a, b in stages]
    size = decoded.shape[-2:]
    grown = [functional.interpolate(distance, size, mode="bilinear") for distance in distances]
    return torch.stack(grown).mean(dim=0)


@dataclass(frozen=True, slots=True, eq=False)
class Redrawing:
    """How a region is redrawn: towards ``normal``, away from ``abnormal`` by ``guidance`` (1 leaves it out).

    ``start`` is the share of the schedule at which the region starts: at 1 from pure noise, below from the mean of what
    surrounds it, noised to that level; never from what was in it.
    """

    steps: int = 10
    start: float = 1.0
    normal: Condition = UNCONDITIONED
    abnormal: Condition = UNCONDITIONED
    guidance: float = 1.0
    noise_seed: int = NOISE_SEED


@dataclass(frozen=True, slots=True, eq=False)
class PseudoHealthy:
    """The decoded original and the redrawn image ``[n, c, *size]``, equal bit for bit outside the region."""

    decoded: Tensor
    healthy: Tensor


@torch.inference_mode()
def redraw(model: FoundationModel, images: Tensor, region: Tensor, plan: Redrawing) -> PseudoHealthy:
    """Return images decoded as they are and with the bool ``region`` ``[n, 1, *size]`` redrawn."""
    latents = model.encode(images)
    decoded = model.decode(latents)
    region = region.to(decoded.device)
    redrawn = redraw_latents(model, latents, latent_region(region, model.factor), plan)
    if redrawn is latents:
        return PseudoHealthy(decoded, decoded)
    return PseudoHealthy(decoded, torch.where(region, model.decode(redrawn), decoded))


def latent_region(region: Tensor, factor: int) -> Tensor:
    """Return the latent cells that a bool region of an image touches."""
    pool = functional.max_pool2d if region.ndim == FLAT + 2 else functional.max_pool3d
    return pool(region.float(), factor) > 0


@torch.inference_mode()
def redraw_latents(model: FoundationModel, z: Tensor, region: Tensor, plan: Redrawing) -> Tensor:
    """Return latents redrawn inside the bool ``region`` ``[n, 1, *grid]``; ``z`` itself where there is none.

    The sampler works in variance-preserving form, in which every schedule is one of ``alpha_bars``: DDIM steps do not
    depend on the common factor of signal and noise, so rectified flows take the same steps as their Euler integration.
    """
    if not bool(region.any()):
        return z
    schedule = model.schedule
    steps = schedule.steps(plan.steps, tuple(z.shape[2:]), start=plan.start)
    noise = _fixed_noise(z, plan.noise_seed)
    denoise = sampling.guided(
        _in_context(model, z, region, noise, steps=steps, condition=plan.normal),
        _in_context(model, z, region, noise, steps=steps, condition=plan.abnormal),
        plan.guidance,
    )
    alpha_bars = schedule.alpha_bars()[torch.tensor(steps[::-1])]
    first = sampling.noise_to(_surroundings(z, region), noise, alpha_bars[-1].to(z))
    return sampling.inpaint(denoise, z, region, first, count=len(steps), alpha_bars=alpha_bars)


def _in_context(
    model: FoundationModel, z: Tensor, region: Tensor, noise: Tensor, *, steps: list[int], condition: Condition
) -> sampling.Denoise:
    """Return a denoiser for the sampler, which numbers the chosen steps from 0, the least noise, upwards."""

    def denoise(z_t: Tensor, index: int) -> Tensor:
        step = steps[len(steps) - 1 - index]
        alpha, sigma = model.schedule.alpha_sigma(step)
        known = model.schedule.noised(z, noise, step)
        norm = (alpha**2 + sigma**2) ** 0.5
        return model.denoise(torch.where(region, z_t * norm, known), step, condition).x0

    return denoise


def _fixed_noise(z: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(z.shape[1:], generator=generator).to(z).expand_as(z)


def _surroundings(z: Tensor, region: Tensor) -> Tensor:
    """Return the mean of the known latents of each channel, everywhere; zero where nothing is known."""
    axes = tuple(range(2, z.ndim))
    known = (~region).to(z)
    counted = known.sum(dim=axes, keepdim=True).clamp(min=1.0)
    return ((z * known).sum(dim=axes, keepdim=True) / counted).expand_as(z)
