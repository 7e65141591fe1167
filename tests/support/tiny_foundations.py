"""Foundation models of each family, shrunken, and trained for a minute on drawn heads with captions or classes.

Their images are T2-like: fluid is as bright as a lesion, fat nearly so, so that no grey level tells them apart. Each is
trained once for all processes of a test run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from phantom.head import Phantom
from storage.volumes import FrameRef, Volume
from tests.support import tiny_models
from tests.support.abdomens import WINDOW_HU, abdomen
from tests.support.trained_once import Training, trained_once
from workers.foundation.card import CARD_NAME
from workers.foundation.contract import FoundationModel
from workers.foundation.diffusers_folder import library
from workers.foundation.folders import open_foundation
from workers.foundation.noise import NoiseSchedule, PredictionKind
from workers.zero_shot.slices import place_slices
from workers.zero_shot.windows import place_windows

SIDE = 32
TRAINING_SEEDS = range(100, 148)
NORMAL, ABNORMAL = 0, 1
CLASSES = {"normal": 1, "abnormal": 2}
LEAST_LESION = 12
"""Fewest lesion pixels of a slice that is trained on as abnormal."""
OTHERS = 3
"""One in so many of the other slices is trained on."""
LEAST_PART, LEAST_CHANGE, LEAST_TISSUE = 40, 0.02, 0.2
"""Fewest voxels of a window that differ by so much where it is trained on as abnormal; share of tissue of others."""
LEVELS = (0.0, 0.85)
"""Shares of the noise schedule between which denoisers are trained: the segmenter asks them of no more noise."""
ASKED_LEVELS = (0.42, 0.72)
"""Shares of a rectified flow's noise just around those that the segmenter asks of: 0.48, 0.55 and 0.63."""
ANY_VIEW: dict[str, Any] = {"extent_mm": None, "spacing_mm": None}
COARSE_VIEW: dict[str, Any] = {"extent_mm": None, "spacing_mm": {"low": [4.0] * 3, "high": [8.0] * 3}}
COARSE_SIZE = [16, 16, 16]
GREYS: dict[str, Any] = {"intensity": "window", "range": list(WINDOW_HU)}
BATCH = 8
NOISE = 0.1
"""Of latents while an autoencoder is trained: what the noise of an image says is not worth its place in them."""


def trained_foundation(factory: pytest.TempPathFactory, train: Training) -> Path:
    """Return the folder of a model of this test run, trained by one of the functions below."""
    return trained_once(factory, f"tiny-foundation-{train.__name__}", train)


def volume_of(phantom: Phantom, modality: str = "MR") -> Volume:
    """Return a phantom as a volume."""
    frames = tuple(FrameRef(f"1.2.{z}", "1.2.840.10008.5.1.4.1.1.4", None, "") for z in range(len(phantom.voxels)))
    return Volume(phantom.voxels, phantom.geometry, modality, "1.2", "1.2.3", "1.2.4", frames)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Images that a model is trained on, ``[n, 1, *size]`` in its range of values, and which are abnormal."""

    images: Tensor
    labels: Tensor
    twins: bool = False
    """Whether rows of the second half are those of the first half with a tumour: drawn, noised and shown together."""


def slice_lesson(model: FoundationModel) -> Lesson:
    """Return slices with a tumour, the same slices without it, and some of the others under either caption.

    What is told must say whether there is a tumour, and the place of the slice must not.
    """
    images, labels = [], []
    for seed in TRAINING_SEEDS:
        sick = abdomen(seed)
        # The planes of the phantom lie as the model's do, so the count of a slice needs no turning.
        area = sick.mask.sum(axis=(1, 2))
        others = (area == 0) & (np.arange(len(area)) % OTHERS == seed % OTHERS)
        shown = torch.from_numpy((area >= LEAST_LESION) | others)
        for label, drawn in ((NORMAL, abdomen(seed, tumour=False)), (ABNORMAL, sick)):
            images.append(place_slices(drawn.volume, model).images[shown])
            labels += [label] * int(shown.sum())
    return Lesson(torch.cat(images), torch.tensor(labels))


def window_lesson(model: FoundationModel) -> Lesson:
    """Return windows with a part of a tumour, the same windows without it, and some of the others under either class.

    Row by row, the first half is healthy and the second half is the same windows of the same abdomens, as drawn sick.
    """
    healthy, sick = [], []
    for seed in TRAINING_SEEDS:
        frame = place_windows(abdomen(seed).volume, model)
        without = place_windows(abdomen(seed, tumour=False).volume, model).images
        # Both are drawn with the same noise, so that only the tumour differs.
        area = ((frame.images - without).abs() > LEAST_CHANGE).flatten(1).sum(dim=1)
        others = (area == 0) & (torch.arange(len(area)) % OTHERS == seed % OTHERS)
        shown = (area >= LEAST_PART) | (others & (frame.tissue.flatten(1).float().mean(dim=1) > LEAST_TISSUE))
        healthy.append(without[shown])
        sick.append(frame.images[shown])
    images = torch.cat(healthy + sick)
    return Lesson(images, torch.tensor([NORMAL, ABNORMAL]).repeat_interleave(len(images) // 2), twins=True)


def train_autoencoder(
    network: nn.Module,
    lesson: Lesson,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    *,
    steps: int,
    batch: int = BATCH,
    rate: float = 3e-3,
) -> None:
    """Train an autoencoder to give images back from slightly noised latents."""
    generator = torch.Generator().manual_seed(1)

    def loss(_step: int) -> Tensor:
        images = _drawn(lesson, batch, generator)[0]
        latents = encode(images)
        noise = torch.randn(latents.shape, generator=generator)
        given = decode(latents + NOISE * noise)
        return (given - images).abs().mean() + 1e-3 * latents.square().mean()

    _optimise(network, loss, steps=steps, rate=rate)


def train_denoiser(
    network: nn.Module,
    lesson: Lesson,
    schedule: NoiseSchedule,
    call: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    steps: int,
    batch: int = BATCH,
    rate: float = 3e-3,
    levels: tuple[float, float] = LEVELS,
) -> None:
    """Train a denoiser on a lesson of scaled latents; ``call`` takes noised latents, times and labels."""
    generator = torch.Generator().manual_seed(2)
    lowest, highest = (round(level * len(schedule)) for level in levels)
    alphas, sigmas, times = (part.float() for part in (schedule.alphas, schedule.sigmas, schedule.times))

    def loss(_step: int) -> Tensor:
        z, label = _drawn(lesson, batch, generator)
        own, times_each = (batch // 2, 2) if lesson.twins else (batch, 1)
        step = torch.randint(lowest, highest, (own,), generator=generator).repeat(times_each)
        alpha, sigma = (part[step].view(-1, *(1 for _ in z.shape[1:])) for part in (alphas, sigmas))
        noise = torch.randn((own, *z.shape[1:]), generator=generator).repeat(times_each, *(1 for _ in z.shape[1:]))
        flow = schedule.kind is PredictionKind.FLOW_TO_IMAGE
        wanted = z - noise if flow else alpha * noise - sigma * z
        return functional.mse_loss(call(alpha * z + sigma * noise, times[step], label), wanted)

    _optimise(network, loss, steps=steps, rate=rate)


def _drawn(lesson: Lesson, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a batch, half of it abnormal."""
    half = len(lesson.images) // 2
    if lesson.twins:
        row = torch.randint(half, (batch // 2,), generator=generator)
        chosen = torch.cat([row, row + half])
        return lesson.images[chosen], lesson.labels[chosen]
    rows = []
    for label in (NORMAL, ABNORMAL):
        known = torch.nonzero(lesson.labels == label)[:, 0]
        rows.append(known[torch.randint(len(known), (batch // 2,), generator=generator)])
    chosen = torch.cat(rows)
    return lesson.images[chosen], lesson.labels[chosen]


def _optimise(network: nn.Module, loss_of: Callable[[int], Tensor], *, steps: int, rate: float) -> None:
    network.train().requires_grad_(requires_grad=True)
    optimiser = torch.optim.AdamW(network.parameters(), rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 20) * (1.0 - step / steps)
        loss = loss_of(step)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    network.eval().requires_grad_(requires_grad=False)


def reborn(network: nn.Module) -> None:
    """Give a network the weights that its library starts from."""
    torch.manual_seed(0)
    for part in network.modules():
        start = getattr(part, "reset_parameters", None)
        if callable(start):
            start()


def batches(images: Tensor, size: int) -> list[Tensor]:
    """Return images in batches."""
    return [images[start : start + size] for start in range(0, len(images), size)]


def trained_diffusers(folder: Path, *, coder_steps: int = 250, steps: int = 800) -> Path:
    """Train a pipeline of the Stable Diffusion kind, captioned."""
    _write_pipeline(folder)
    model: Any = open_foundation(folder, torch.device("cpu"), torch.float32)
    lesson, coder, denoiser = slice_lesson(model), model.autoencoder, model.denoiser
    train_autoencoder(
        coder,
        lesson,
        lambda images: coder.encode(images).latent_dist.mode(),
        lambda latents: coder.decode(latents).sample,
        steps=coder_steps,
    )
    with torch.no_grad():
        latents = torch.cat([coder.encode(part).latent_dist.mode() for part in batches(lesson.images, 32)])
    scale = 1.0 / float(latents.std())
    coder.register_to_config(scaling_factor=scale)
    tokens = told(model)
    train_denoiser(
        denoiser,
        Lesson(latents * scale, lesson.labels),
        model.schedule,
        lambda noised, times, labels: denoiser(noised, times, encoder_hidden_states=tokens[labels]).sample,
        steps=steps,
    )
    coder.save_pretrained(folder / "vae")
    denoiser.save_pretrained(folder / "unet")
    return folder


def trained_bundle(folder: Path, *, coder_steps: int = 250, steps: int = 800) -> Path:
    """Train a MONAI bundle of images, captioned."""
    coder_changes = {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False, "latent_channels": 2}
    unet_changes = {"num_channels": [16, 32], "in_channels": 2, "out_channels": 2}
    tiny_models.monai(folder, coder_changes=coder_changes, unet_changes=unet_changes)
    tiny_models.clip(folder)
    change_card(folder, modalities=["CT"], field_of_view=ANY_VIEW, options={"size": SIDE} | GREYS)
    model: Any = open_foundation(folder, torch.device("cpu"), torch.float32)
    lesson, coder, denoiser = slice_lesson(model), model.autoencoder.network, model.denoiser
    reborn(coder)
    reborn(denoiser)
    train_autoencoder(coder, lesson, lambda images: coder.encode(images)[0], coder.decode, steps=coder_steps)
    with torch.no_grad():
        latents = torch.cat([coder.encode(part)[0] for part in batches(lesson.images, 32)])
    scale = 1.0 / float(latents.std())
    tokens = told(model)
    train_denoiser(
        denoiser,
        Lesson(latents * scale, lesson.labels),
        model.schedule,
        lambda noised, times, labels: denoiser(noised, times, context=tokens[labels]),
        steps=steps,
    )
    tiny_models.save_weights(coder, folder / "autoencoder.safetensors")
    tiny_models.save_weights(denoiser, folder / "denoiser.safetensors")
    change_card(folder, options={"scale_factor": scale})
    return folder


def trained_maisi(folder: Path, *, coder_steps: int = 100, steps: int = 1800) -> Path:
    """Train MAISI, shrunken, by rectified flow, with one class for healthy abdomens and one for those with a tumour.

    It is not told the spacing, which is always the same: told in hundreds, it slows learning (loss 0.34 in place of
    0.23 after 150 steps).
    """
    coder_changes = {"num_channels": [8, 16], "num_res_blocks": [1, 1], "latent_channels": 2}
    unet_changes = {"num_channels": [16, 32], "include_spacing_input": False, "in_channels": 2, "out_channels": 2}
    plain = {"attention_levels": [False, False]}
    tiny_models.maisi(folder, coder_changes=coder_changes | plain, unet_changes=unet_changes | plain)
    change_card(folder, field_of_view=COARSE_VIEW, options=GREYS | {"size": COARSE_SIZE, "classes": CLASSES})
    model: Any = open_foundation(folder, torch.device("cpu"), torch.float32)
    lesson, coder, denoiser = window_lesson(model), model.autoencoder.network, model.denoiser
    reborn(coder)
    reborn(denoiser)
    train_autoencoder(coder, lesson, lambda images: coder.encode(images)[0], coder.decode, steps=coder_steps, batch=4)
    with torch.no_grad():
        latents = torch.cat([coder.encode(part)[0] for part in batches(lesson.images, 8)])
    scale = 1.0 / float(latents.std())
    classes = torch.tensor([CLASSES["normal"], CLASSES["abnormal"]])
    train_denoiser(
        denoiser,
        Lesson(latents * scale, lesson.labels, twins=True),
        model.schedule,
        lambda noised, times, labels: denoiser(noised, times, class_labels=classes[labels]),
        steps=steps,
        levels=ASKED_LEVELS,
    )
    torch.save(coder.state_dict(), folder / "autoencoder.pt")
    torch.save({"unet_state_dict": denoiser.state_dict(), "scale_factor": torch.tensor(scale)}, folder / "unet.pt")
    return folder


def change_card(folder: Path, **changes: Any) -> None:
    """Change fields of a folder's card; ``options`` are added to those that are there."""
    path = folder / CARD_NAME
    card = json.loads(path.read_text())
    options = card.get("options", {}) | changes.pop("options", {})
    path.write_text(json.dumps(card | changes | {"options": options}))


def told(model: FoundationModel) -> Tensor:
    """Return the tokens of the captions that the segmenter asks with, normal first."""
    captions = ["a normal CT image", "an abnormal CT image with tumor"]
    return model.describe(captions).clone()


def _write_pipeline(folder: Path) -> None:
    torch.manual_seed(0)
    tiny_models.tiny_autoencoder(
        in_channels=1, out_channels=1, latent_channels=2, sample_size=SIDE, mid_block_add_attention=False
    ).save_pretrained(folder / "vae")
    tiny_models.tiny_text_unet(
        in_channels=2, out_channels=2, block_out_channels=(16, 32), sample_size=SIDE // 2
    ).save_pretrained(folder / "unet")
    library.DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction"
    ).save_pretrained(folder / "scheduler")
    tiny_models.clip(folder)
    tiny_models.write_card(
        folder,
        "diffusers-latent",
        modalities=["CT"],
        conditioning="text",
        field_of_view=ANY_VIEW,
        options={"size": SIDE} | GREYS,
    )
