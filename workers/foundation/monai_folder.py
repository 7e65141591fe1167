"""Latent diffusion models that MONAI builds: bundles in two or three dimensions, and MAISI (Guo et al., WACV 2025).

MAISI's volumes are ``[n, 1, x, y, z]`` running to right, front and head (RAS), in 0..1: CT clipped to -1000..1000 HU,
MR up to its 99.5th percentile. Sides that are multiples of 128 are recommended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.errors import ModelUnsuitable
from workers.foundation.contract import UNCONDITIONED, BodyRegion, Condition
from workers.foundation.diffusers_folder import PipelineText
from workers.foundation.monai_networks import (
    MonaiAutoencoder,
    NetworkDefinition,
    autocast,
    load_network,
    read_definition,
    schedule_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.foundation.card import ModelCard
    from workers.foundation.noise import Denoised, NoiseSchedule

OLD_NAMES = {"num_channels": "channels"}
"""Arguments that MONAI GenerativeModels called otherwise."""
INPUT_SCALE = 100.0
"""By what the networks were told spacings in millimetres and one-hot regions in training."""
WINDOW = 128
"""Longest side in voxels that is encoded and decoded in one piece where the card sets no ``window``."""


@dataclass(frozen=True, slots=True, eq=False)
class MonaiModel:
    """A MONAI autoencoder and denoiser with the card and the schedule of their folder."""

    card: ModelCard
    sha256: str
    schedule: NoiseSchedule
    autoencoder: MonaiAutoencoder
    denoiser: Any
    latent_channels: int

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.autoencoder.device

    @property
    def image_channels(self) -> int:
        """Channels of a decoded image or volume."""
        return self.autoencoder.image_channels

    @property
    def factor(self) -> int:
        """By how much an image is larger than its latent."""
        return self.autoencoder.factor

    def encode(self, images: Tensor) -> Tensor:
        """Return the mean latents times the scale factor (MAISI itself samples: about a quarter of their variance)."""
        return self.autoencoder.encode(images)

    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images."""
        return self.autoencoder.decode(latents)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the encoder's stages, shallow to deep; of MAISI blocks 2, 5 and 8, at 1/1, 1/2 and 1/4 of the size."""
        return self.autoencoder.features(images)

    def _denoised(self, noisy: Tensor, step: int, *, channels: Tensor | None = None, **told: Tensor | None) -> Denoised:
        """Run the denoiser on latents, joined with further ``channels`` where given, told what its kind wants."""
        time = self.schedule.times[step].to(self.device, torch.float32).expand(len(noisy))
        with autocast(self.device, self.autoencoder.dtype):
            output: Tensor = self.denoiser(noisy if channels is None else channels, time, **told)
        return self.schedule.denoised(output.float(), noisy, step)


@dataclass(frozen=True, slots=True, eq=False)
class MonaiLatent(MonaiModel):
    """A latent diffusion model; images ``[n, image_channels, *size]`` in 2D or 3D."""

    text: PipelineText | None
    spatial_dims: int

    @classmethod
    def from_folder(
        cls, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> MonaiLatent:
        """Read a bundle's folder whose files have been checked; its card names definition and weight files."""
        from monai.networks.nets.autoencoderkl import AutoencoderKL
        from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

        definition = definition_in(folder, card)
        coder, denoiser = (_renamed(part) for part in (definition.autoencoder, definition.denoiser))
        network, coded = load_network(AutoencoderKL, coder, weights_in(folder, card, "autoencoder"), device=device)
        unet, denoised = load_network(DiffusionModelUNet, denoiser, weights_in(folder, card, "denoiser"), device=device)
        scale = scale_factor(card, denoised.scale_factor, coded.scale_factor)
        autoencoder = MonaiAutoencoder(network, scale, device, dtype, card.options.get("window"))
        schedule = schedule_of(definition.scheduler)
        text = PipelineText.load(folder, device=device) if (folder / "text_encoder").is_dir() else None
        dims = int(definition.autoencoder["spatial_dims"])
        return cls(card, sha256, schedule, autoencoder, unet, network.latent_channels, text, dims)

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = UNCONDITIONED) -> Denoised:
        """Return estimates of z_0 and e; a vector goes into cross-attention and, where there is room, into channels."""
        noisy = z_t.to(self.device).float()
        context, labels = self._context(condition, len(noisy)), self._labels(condition, len(noisy))
        return self._denoised(noisy, step, channels=self._widened(noisy, context), context=context, class_labels=labels)

    def describe(self, texts: list[str]) -> Tensor:
        """Return the tokens of the text encoder that lies beside the bundle."""
        if self.text is None:
            raise ModelUnsuitable(f"{self.card.name} has no text encoder: give tokens, or choose another model")
        return self.text.tokens(texts)

    def _context(self, condition: Condition, count: int) -> Tensor | None:
        if not self.denoiser.with_conditioning:
            return None
        told = condition.tokens if condition.vector is None else condition.vector[:, None]
        if told is None and self.text is not None:
            told = self.text.tokens([""])
        if told is None:
            raise ModelUnsuitable(f"{self.card.name} must be told text tokens or a vector: set them in the condition")
        return told.to(self.device).float().expand(count, -1, -1)

    def _labels(self, condition: Condition, count: int) -> Tensor | None:
        if self.denoiser.num_class_embeds is None:
            return None
        label = condition.class_label if condition.class_label is not None else self.card.options.get("class_label")
        if label is None:
            raise ModelUnsuitable(f"{self.card.name} must be told a class: set class_label")
        return torch.full((count,), int(label), device=self.device)

    def _widened(self, noisy: Tensor, context: Tensor | None) -> Tensor:
        missing = self.denoiser.in_channels - noisy.shape[1]
        if missing == 0 or context is None:
            return noisy
        vector = context[:, 0, :missing].reshape(len(noisy), missing, *(1 for _ in noisy.shape[2:]))
        return torch.cat([noisy, vector.expand(-1, -1, *noisy.shape[2:])], dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class Maisi(MonaiModel):
    """A 3D latent diffusion model that is told the spacing, and a class or the body regions."""

    @classmethod
    def from_folder(
        cls, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> Maisi:
        """Read a folder whose files have been checked; its card names definition and weight files."""
        from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
        from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi

        definition = definition_in(folder, card)
        coder = dict(definition.autoencoder) | {"norm_float16": dtype is torch.float16}
        if device.type == "cpu":
            coder["num_splits"] = 1  # splitting saves the memory of a GPU and only costs time here
        network, coded = load_network(AutoencoderKlMaisi, coder, weights_in(folder, card, "autoencoder"), device=device)
        unet, denoised = load_network(
            DiffusionModelUNetMaisi, definition.denoiser, weights_in(folder, card, "denoiser"), device=device
        )
        scale = scale_factor(card, denoised.scale_factor, coded.scale_factor)
        autoencoder = MonaiAutoencoder(network, scale, device, dtype, card.options.get("window", WINDOW))
        return cls(card, sha256, schedule_of(definition.scheduler), autoencoder, unet, network.latent_channels)

    @property
    def spatial_dims(self) -> int:
        """Three."""
        return 3

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = UNCONDITIONED) -> Denoised:
        """Return estimates of z_0 and e; the condition must name what the network takes: spacing, class or regions."""
        noisy = z_t.to(self.device).float()
        return self._denoised(noisy, step, **self._inputs(condition, len(noisy)))

    def describe(self, texts: list[str]) -> Tensor:
        """Refuse: MAISI takes no text."""
        raise ModelUnsuitable(f"{self.card.name} takes no text, so {len(texts)} prompts say nothing to it")

    def _inputs(self, condition: Condition, count: int) -> dict[str, Tensor]:
        inputs: dict[str, Tensor] = {}
        if self.denoiser.include_spacing_input:
            spacing = self._told(condition.spacing_mm, "spacing_mm")
            inputs["spacing_tensor"] = self._row(torch.tensor(spacing), count)
        if self.denoiser.include_top_region_index_input:
            inputs["top_region_index_tensor"] = self._row(_one_hot(self._told(condition.top, "top")), count)
        if self.denoiser.include_bottom_region_index_input:
            inputs["bottom_region_index_tensor"] = self._row(_one_hot(self._told(condition.bottom, "bottom")), count)
        if self.denoiser.num_class_embeds is not None:
            told = condition.class_label if condition.class_label is not None else self.card.options.get("class_label")
            label = int(self._told(told, "class_label"))
            inputs["class_labels"] = torch.full((count,), label, device=self.device)
        return inputs

    def _row(self, values: Tensor, count: int) -> Tensor:
        return (values.float() * INPUT_SCALE).to(self.device).expand(count, -1)

    def _told(self, value: Any, name: str) -> Any:
        if value is None:
            raise ModelUnsuitable(f"{self.card.name} must be told {name}: set it in the condition")
        return value


def _one_hot(region: BodyRegion) -> Tensor:
    return functional.one_hot(torch.tensor(int(region)), len(BodyRegion))


def definition_in(folder: Path, card: ModelCard) -> NetworkDefinition:
    """Return the definition that the card names, by default ``config.json``."""
    return read_definition(_inside(folder, card.options.get("definition", "config.json")))


def weights_in(folder: Path, card: ModelCard, part: str) -> Path:
    """Return the weight file that the card names for ``part``."""
    if part not in card.options:
        raise ModelUnsuitable(f"the card of {card.name} names no weight file: add {part} to its options")
    return _inside(folder, card.options[part])


def scale_factor(card: ModelCard, *found: float | None) -> float:
    """Return the factor of the latents: the first that a checkpoint holds, else the card's."""
    scale = next((value for value in found if value is not None), card.options.get("scale_factor"))
    if scale is None:
        raise ModelUnsuitable(f"nothing says by what the latents of {card.name} are scaled: add scale_factor")
    return float(scale)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelUnsuitable(f"the card of {folder.name} names a file outside the folder")
    return path


def _renamed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {OLD_NAMES.get(key, key): value for key, value in arguments.items()}
