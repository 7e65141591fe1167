"""Foundation models of each family, shrunken, and trained for a minute on drawn heads with captions or classes.

Their images are T2-like: fluid is as bright as a lesion, fat nearly so, so that no grey level tells them apart. Each is
trained once per test run, and kept beside the temporary folders that the processes of the run share.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from phantom.anatomy import Contrast
from phantom.head import Phantom, head_phantom
from storage.domain import FrameRef, Volume
from tests.support import tiny_models
from workers.foundation.card import CARD_NAME
from workers.foundation.contract import FoundationModel
from workers.foundation.folders import open_foundation
from workers.foundation.noise import NoiseSchedule, PredictionKind
from workers.zero_shot.slices import place_slices
from workers.zero_shot.windows import place_windows

SIDE = 48
PIXELS = 64
SLICES = 12
SLICE_MM = 8.0
TRAINING_SEEDS = range(100, 136)
HELD_OUT_SEEDS = range(2000, 2010)
NORMAL, ABNORMAL = 0, 1
CLASSES = {"normal": 1, "abnormal": 2}
LESION_PLACES = 12
"""Fewest lesion pixels of a slice that is trained on."""
ANY_VIEW: dict[str, Any] = {"extent_mm": None, "spacing_mm": None}
BATCH = 8


def t2_phantom(seed: int, *, lesion: bool = True, slices: int = SLICES) -> Phantom:
    """Draw a head in which cerebrospinal fluid is about as bright as the lesion."""
    white = float(np.random.default_rng(seed + 1000).uniform(48, 62))
    contrast = Contrast(white=white, grey=1.27 * white, fluid=2.15 * white, fat=1.9 * white)
    return head_phantom(
        seed=seed, size=PIXELS, slices=slices, slice_mm=SLICES * SLICE_MM / slices, lesion=lesion, contrast=contrast
    )


def volume_of(phantom: Phantom, modality: str = "MR") -> Volume:
    """Return a phantom as a volume."""
    frames = tuple(FrameRef(f"1.2.{z}", "1.2.840.10008.5.1.4.1.1.4", None, "") for z in range(len(phantom.voxels)))
    return Volume(phantom.voxels, phantom.geometry, modality, "1.2", "1.2.3", "1.2.4", frames)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Images that a model is trained on, ``[n, 1, *size]`` in its range of values, and which are abnormal."""

    images: Tensor
    labels: Tensor


def slice_lesson(model: FoundationModel) -> Lesson:
    """Return slices with a lesion, and the same slices of the same heads without it.

    Slices beside a lesion lie lower or higher in the head: with them "normal" could come to mean that place.
    """
    images, labels = [], []
    for seed in TRAINING_SEEDS:
        sick = t2_phantom(seed)
        # The phantom's planes lie as the model's do, so the count of a slice needs no turning.
        shown = torch.from_numpy(sick.mask.sum(axis=(1, 2)) >= LESION_PLACES)
        for label, drawn in ((NORMAL, t2_phantom(seed, lesion=False)), (ABNORMAL, sick)):
            images.append(place_slices(volume_of(drawn), model).images[shown])
            labels += [label] * int(shown.sum())
    return Lesson(torch.cat(images), torch.tensor(labels))


def window_lesson(model: FoundationModel) -> Lesson:
    """Return whole heads, half of them without a lesion."""
    images, labels = [], []
    for seed in TRAINING_SEEDS:
        sick = seed % 2 == 1
        images.append(place_windows(volume_of(t2_phantom(seed, lesion=sick)), model).images)
        labels.append(ABNORMAL if sick else NORMAL)
    return Lesson(torch.cat(images), torch.tensor(labels))


def train_autoencoder(
    network: nn.Module,
    lesson: Lesson,
    encode: Callable[[Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    *,
    steps: int,
    crop: tuple[int, ...] | None = None,
    rate: float = 3e-3,
) -> None:
    """Train an autoencoder to give images back from slightly noised latents."""
    generator = torch.Generator().manual_seed(1)

    def loss(_step: int) -> Tensor:
        images = _drawn(lesson, generator)[0]
        if crop is not None:
            images = _cropped(images, crop, generator)
        latents = encode(images)
        noise = torch.randn(latents.shape, generator=generator)
        given = decode(latents + 0.1 * noise)
        return (given - images).abs().mean() + 1e-3 * latents.square().mean()

    _optimise(network, loss, steps=steps, rate=rate)


def train_denoiser(
    network: nn.Module,
    latents: Tensor,
    labels: Tensor,
    schedule: NoiseSchedule,
    call: Callable[[Tensor, Tensor, Tensor], Tensor],
    *,
    steps: int,
    rate: float = 3e-3,
) -> None:
    """Train a denoiser on scaled latents; ``call`` takes noised latents, times and labels."""
    generator = torch.Generator().manual_seed(2)
    alphas, sigmas, times = (part.float() for part in (schedule.alphas, schedule.sigmas, schedule.times))

    def loss(_step: int) -> Tensor:
        z, label = _drawn(Lesson(latents, labels), generator)
        step = torch.randint(len(schedule), (len(z),), generator=generator)
        alpha, sigma = (part[step].view(-1, *(1 for _ in z.shape[1:])) for part in (alphas, sigmas))
        noise = torch.randn(z.shape, generator=generator)
        flow = schedule.kind is PredictionKind.FLOW_TO_IMAGE
        wanted = z - noise if flow else alpha * noise - sigma * z
        return functional.mse_loss(call(alpha * z + sigma * noise, times[step], label), wanted)

    _optimise(network, loss, steps=steps, rate=rate)


def _drawn(lesson: Lesson, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw a batch, half of it abnormal."""
    rows = []
    for label in (NORMAL, ABNORMAL):
        known = torch.nonzero(lesson.labels == label)[:, 0]
        rows.append(known[torch.randint(len(known), (BATCH // 2,), generator=generator)])
    chosen = torch.cat(rows)
    return lesson.images[chosen], lesson.labels[chosen]


def _cropped(images: Tensor, size: tuple[int, ...], generator: torch.Generator) -> Tensor:
    starts = [
        int(torch.randint(whole - part + 1, (1,), generator=generator))
        for whole, part in zip(images.shape[2:], size, strict=True)
    ]
    places = tuple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
    return images[(slice(None), slice(None), *places)]


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


def trained_diffusers(folder: Path, *, coder_steps: int = 200, steps: int = 260) -> Path:
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
        latents * scale,
        lesson.labels,
        model.schedule,
        lambda noised, times, labels: denoiser(noised, times, encoder_hidden_states=tokens[labels]).sample,
        steps=steps,
    )
    coder.save_pretrained(folder / "vae")
    denoiser.save_pretrained(folder / "unet")
    return folder


def trained_bundle(folder: Path, *, coder_steps: int = 200, steps: int = 260) -> Path:
    """Train a MONAI bundle of images, captioned."""
    plain = {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False}
    tiny_models.monai(folder, coder_changes=plain, unet_changes={"num_channels": [16, 32]})
    tiny_models.clip(folder)
    change_card(folder, field_of_view=ANY_VIEW, options={"size": SIDE})
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
        latents * scale,
        lesson.labels,
        model.schedule,
        lambda noised, times, labels: denoiser(noised, times, context=tokens[labels]),
        steps=steps,
    )
    tiny_models.save_weights(coder, folder / "autoencoder.safetensors")
    tiny_models.save_weights(denoiser, folder / "denoiser.safetensors")
    change_card(folder, options={"scale_factor": scale})
    return folder


def trained_maisi(folder: Path, *, coder_steps: int = 150, steps: int = 200) -> Path:
    """Train MAISI, shrunken, by rectified flow, with one class for healthy heads and one for heads with a lesion."""
    tiny_models.maisi(folder, unet_changes={"num_channels": [16, 32]})
    change_card(
        folder, field_of_view=ANY_VIEW, modalities=["MR"], options={"size": [PIXELS, PIXELS, 16], "classes": CLASSES}
    )
    model: Any = open_foundation(folder, torch.device("cpu"), torch.float32)
    lesson, coder, denoiser = window_lesson(model), model.autoencoder.network, model.denoiser
    reborn(coder)
    reborn(denoiser)
    crop = (24, 24, 16)
    train_autoencoder(coder, lesson, lambda images: coder.encode(images)[0], coder.decode, steps=coder_steps, crop=crop)
    with torch.no_grad():
        latents = torch.cat([coder.encode(part)[0] for part in batches(lesson.images, 1)])
    scale = 1.0 / float(latents.std())
    classes = torch.tensor([CLASSES["normal"], CLASSES["abnormal"]])
    spacing = place_windows(volume_of(t2_phantom(0)), model).spacing_mm

    def call(noised: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        told_spacing = (torch.tensor([spacing]) * 100.0).expand(len(noised), -1)
        given: Tensor = denoiser(noised, times, class_labels=classes[labels], spacing_tensor=told_spacing)
        return given

    train_denoiser(denoiser, latents * scale, lesson.labels, model.schedule, call, steps=steps)
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
    captions = ["a normal MR image", "an abnormal MR image with tumor"]
    return model.describe(captions).clone()


def _write_pipeline(folder: Path) -> None:
    library = tiny_models.library
    torch.manual_seed(0)
    tiny_models.tiny_autoencoder(
        in_channels=1, out_channels=1, sample_size=SIDE, mid_block_add_attention=False
    ).save_pretrained(folder / "vae")
    tiny_models.tiny_text_unet(block_out_channels=(16, 32), sample_size=SIDE // 2).save_pretrained(folder / "unet")
    library.DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction"
    ).save_pretrained(folder / "scheduler")
    tiny_models.clip(folder)
    tiny_models.write_card(
        folder,
        "diffusers-latent",
        modalities=["MR"],
        conditioning="text",
        field_of_view=ANY_VIEW,
        options={"size": SIDE},
    )


def best_fixed_threshold(images: list[np.ndarray], masks: list[np.ndarray]) -> float:
    """Return the mean Dice of the one grey level that suits all of these volumes best, chosen with the truth."""
    return max(
        float(np.mean([dice(image > level, mask) for image, mask in zip(images, masks, strict=True)]))
        for level in np.linspace(0.0, 1.0, 101)
    )


def dice(found: np.ndarray, true: np.ndarray) -> float:
    """Return the overlap of two masks, 1 where both are empty."""
    both = int(found.sum()) + int(true.sum())
    return 1.0 if both == 0 else 2.0 * int((found & true).sum()) / both


def shown_grey(phantom: Phantom) -> np.ndarray:
    """Return a phantom's grey 0..1 on the scale that the models are shown: 0.5th to 99.5th percentile."""
    low, high = np.percentile(phantom.voxels, (0.5, 99.5))
    return np.asarray(np.clip((phantom.voxels - low) / (high - low), 0.0, 1.0))


def kept(base: Path, name: str, train: Callable[[Path], Path]) -> Path:
    """Return a model's folder below ``base``, trained by whichever process of a test run comes first."""
    from filelock import FileLock

    folder, trained = base / f"tiny-foundation-{name}", base / f"tiny-foundation-{name}.trained"
    with FileLock(base / f"tiny-foundation-{name}.lock"):
        if not trained.is_file():
            torch.set_num_threads(1)
            folder.mkdir()
            train(folder)
            trained.touch()
    return folder
