"""Anomaly maps of a framed stack: the head's answer, attention, and residuals against a pseudo-healthy image.

Stacks are float32 ``[z, 128, 128]``; images in -1..1, maps in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from workers.segmentation import crossattention, framing, sampling, schedules
from workers.segmentation.mask import smooth_across

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.attention import AnomalyAdapters
    from workers.segmentation.backbone import LatentDiffusion
    from workers.segmentation.calibration import Fusion, ModeSettings, Scales

    FloatArray = NDArray[np.float32]

OnProgress = Callable[[int, int], None]

BATCH = 8
MINIMUM_HEAD = 0.03
LEAST_OF_LARGEST = 0.35
"""Slices on which the head covers less than this share of the image, or of what it covers at its widest, are skipped:
the first show nothing, the others skull and scalp."""
NEIGHBOUR_MM = 5.0
"""How far below and above a slice its neighbours are looked for: the adapters were trained on thick slices."""
DILATION = 3
"""Pixels by which the suspicious region grows before it is redrawn."""
NOISE_SEED = 20250502
"""Seed of the one fixed noise that every slice is redrawn from."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptPair:
    """A prompt in the two forms that the model takes: sentence vectors ``[384]`` and caption tokens ``[16, 384]``.

    ``..._places`` are the tokens of each caption that say what is abnormal, or that all is normal.
    """

    abnormal: Tensor
    normal: Tensor
    abnormal_tokens: Tensor
    normal_tokens: Tensor
    abnormal_places: tuple[int, ...]
    normal_places: tuple[int, ...]

    def swapped(self) -> PromptPair:
        """Exchange what counts as normal and as abnormal."""
        return PromptPair(
            self.normal,
            self.abnormal,
            self.normal_tokens,
            self.abnormal_tokens,
            self.normal_places,
            self.abnormal_places,
        )


@dataclass(frozen=True, slots=True, eq=False)
class AnomalyMaps:
    """What the model sees in a stack, before any threshold. ``healthy`` equals ``decoded`` where nothing was redrawn.

    ``slices`` holds one score per slice in 0..1; residuals are already divided by their healthy scale.
    """

    images: FloatArray
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
        """Add the five maps by their weights."""
        return np.asarray(
            fusion.head * self.head
            + fusion.attention * self.attention
            + fusion.cross_attention * self.cross_attention
            + fusion.pixel_residual * self.pixel_residual
            + fusion.feature_residual * self.feature_residual,
            dtype=np.float32,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The frozen model and what was trained on top of it: the adapters of each round, whose answers are averaged."""

    backbone: LatentDiffusion
    rounds: tuple[AnomalyAdapters, ...]


def compute(
    models: Models,
    images: FloatArray,
    prompt: PromptPair,
    *,
    settings: ModeSettings,
    scales: Scales,
    spacing_z_mm: float,
    redraw_suspicious: bool,
    look_twice: bool,
    on_progress: OnProgress,
) -> AnomalyMaps:
    """Compute the maps of a framed stack. Slices without signal are skipped and stay 0.

    ``redraw_suspicious`` asks for the pseudo-healthy image and its residuals, ``look_twice`` for the denoiser's
    attention.
    """
    shown = _worth_a_look(images)
    maps = blank(images)
    for done in range(0, len(shown), BATCH):
        rows = shown[done : done + BATCH]
        stacks = with_neighbours(images, rows, spacing_z_mm)
        logits = _look(models, stacks, prompt, mirrored=settings.mirrored)
        maps.head[rows], maps.attention[rows], maps.slices[rows] = logits
        if look_twice:
            maps.cross_attention[rows] = _cross_attention(models, images[rows], prompt)
        on_progress(done + len(rows), 2 * len(shown))
    if not redraw_suspicious:
        return maps
    smoothed = smooth_across(maps.head, spacing_z_mm, settings.rule.smoothing_mm)
    suspicious = np.flatnonzero((smoothed > scales.suspicion).any(axis=(1, 2)))
    for done in range(0, len(suspicious), BATCH):
        rows = suspicious[done : done + BATCH]
        region = smoothed[rows] > scales.suspicion
        redraw(models, maps, rows, region, prompt=prompt, settings=settings)
        on_progress(len(shown) + (done + len(rows)) * len(shown) // len(suspicious), 2 * len(shown))
    return _scaled(maps, scales)


def _worth_a_look(images: FloatArray) -> NDArray[np.intp]:
    covered = np.array([framing.head(image).mean() for image in images])
    return np.flatnonzero(covered >= max(MINIMUM_HEAD, LEAST_OF_LARGEST * covered.max(initial=0.0)))


def _cross_attention(models: Models, images: FloatArray, prompt: PromptPair) -> FloatArray:
    latents = models.backbone.encode(torch.from_numpy(images[:, None]).to(models.backbone.device))
    return np.asarray(crossattention.look(models.backbone, latents, prompt)[:, 0].float().cpu().numpy())


def with_neighbours(images: FloatArray, rows: NDArray[np.intp], spacing_z_mm: float) -> FloatArray:
    """Stack the slices ``rows`` with those about 5 mm below and above, or themselves at the ends: ``[n, 3, y, x]``."""
    reach = max(1, round(NEIGHBOUR_MM / spacing_z_mm))
    below, above = rows - reach, rows + reach
    order = np.stack([np.where(below < 0, rows, below), rows, np.where(above >= len(images), rows, above)], axis=1)
    return np.asarray(images[order], dtype=np.float32)


def blank(images: FloatArray) -> AnomalyMaps:
    """Give maps that say nothing yet about a framed stack."""
    return AnomalyMaps(
        images=images,
        head=np.zeros_like(images),
        attention=np.zeros_like(images),
        cross_attention=np.zeros_like(images),
        slices=np.zeros(len(images), np.float32),
        decoded=images.copy(),
        healthy=images.copy(),
        pixel_residual=np.zeros_like(images),
        feature_residual=np.zeros_like(images),
    )


def _scaled(maps: AnomalyMaps, scales: Scales) -> AnomalyMaps:
    return replace(
        maps,
        pixel_residual=np.clip(maps.pixel_residual / scales.pixel_residual, 0.0, 1.0),
        feature_residual=np.clip(maps.feature_residual / scales.feature_residual, 0.0, 1.0),
    )


@torch.inference_mode()
def _look(
    models: Models, stacks: FloatArray, prompt: PromptPair, *, mirrored: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Give head, attention and slice probabilities; ``mirrored`` averages them with those of the mirror image."""
    tensor = torch.from_numpy(stacks).to(models.backbone.device)
    looks = [_probabilities(models, tensor, prompt)]
    if mirrored:
        head, attention, slices = _probabilities(models, tensor.flip(-1), prompt)
        looks.append((head.flip(-1), attention.flip(-1), slices))
    averaged = [torch.stack(part).mean(dim=0).cpu().numpy() for part in zip(*looks, strict=True)]
    return averaged[0][:, 0], averaged[1][:, 0], averaged[2]


def _probabilities(models: Models, stacks: Tensor, prompt: PromptPair) -> tuple[Tensor, Tensor, Tensor]:
    backbone, count = models.backbone, len(stacks)
    abnormal, normal = prompt.abnormal.expand(count, -1), prompt.normal.expand(count, -1)
    with torch.autocast(backbone.device.type, backbone.dtype, enabled=backbone.dtype is not torch.float32):
        features = backbone.features(stacks[:, 1:2])
        answers = [adapters(stacks, features, abnormal, normal) for adapters in models.rounds]
    pixels = torch.stack([answer.pixels.float().sigmoid() for answer in answers]).mean(dim=0)
    attention = torch.stack([answer.attention_map.float() for answer in answers]).mean(dim=0)
    return pixels, attention, torch.stack([answer.slices.float().sigmoid() for answer in answers]).mean(dim=0)


@torch.inference_mode()
def redraw(
    models: Models,
    maps: AnomalyMaps,
    rows: NDArray[np.intp],
    region: NDArray[np.bool_],
    *,
    prompt: PromptPair,
    settings: ModeSettings,
) -> None:
    """Inpaint ``region`` of the slices ``rows`` with the normal prompt, and write raw residuals into ``maps``."""
    backbone = models.backbone
    grown = np.stack([ndimage.binary_dilation(plane, iterations=DILATION) for plane in region])
    latents = backbone.encode(torch.from_numpy(maps.images[rows][:, None]).to(backbone.device))
    mask = torch.from_numpy(grown[:, None]).to(latents)
    latent_mask = functional.max_pool2d(mask, 4) > 0
    healthy_latents = inpaint_healthy(backbone, latents, latent_mask, prompt, settings=settings)
    decoded, healthy = backbone.decode(torch.cat([latents, healthy_latents])).clamp(-1, 1).chunk(2)
    pixel = functional.avg_pool2d((decoded - healthy).abs() / 2, 3, stride=1, padding=1)
    feature = feature_residual(backbone, decoded, healthy)
    maps.decoded[rows], maps.healthy[rows] = decoded[:, 0].cpu().numpy(), healthy[:, 0].cpu().numpy()
    maps.pixel_residual[rows] = (pixel * mask)[:, 0].cpu().numpy()
    maps.feature_residual[rows] = (feature * mask)[:, 0].cpu().numpy()


def inpaint_healthy(
    backbone: LatentDiffusion, latents: Tensor, region: Tensor, prompt: PromptPair, *, settings: ModeSettings
) -> Tensor:
    """Redraw latents inside ``region`` as the normal prompt describes them, from one fixed noise for every slice."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    noise = torch.randn(latents.shape[1:], generator=generator).to(latents).expand_as(latents)

    def towards(z_t: Tensor, step: int) -> Tensor:
        return backbone.denoise(z_t, step, prompt.normal_tokens.expand(len(z_t), -1, -1))

    def away(z_t: Tensor, step: int) -> Tensor:
        return backbone.denoise(z_t, step, prompt.abnormal_tokens.expand(len(z_t), -1, -1))

    denoise = sampling.guided(towards, away, settings.guidance)
    alpha_bars = schedules.alpha_bars().to(latents)
    return sampling.inpaint(denoise, latents, region, noise, count=settings.steps, alpha_bars=alpha_bars)


def feature_residual(backbone: LatentDiffusion, decoded: Tensor, healthy: Tensor) -> Tensor:
    """Give one minus the cosine between the encoder features of two images, averaged over stages, at full size."""
    stages = zip(backbone.features(decoded), backbone.features(healthy), strict=True)
    distances = [1.0 - functional.cosine_similarity(a.float(), b.float(), dim=1)[:, None] for a, b in stages]
    size = decoded.shape[-2:]
    grown = [functional.interpolate(distance, size, mode="bilinear") for distance in distances]
    return torch.stack(grown).mean(dim=0)
