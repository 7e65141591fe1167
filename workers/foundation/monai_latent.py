"""Latent diffusion models of MONAI, in two or three dimensions: ``AutoencoderKL`` and ``DiffusionModelUNet``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workers.errors import ModelUnsuitable
from workers.foundation.card import Conditioning
from workers.foundation.contract import NOTHING_SAID, Condition
from workers.foundation.crossattention import record_monai_cross_attention
from workers.foundation.definition import NetworkDefinition, read_definition
from workers.foundation.monai_model import MonaiModel
from workers.foundation.monai_networks import MonaiAutoencoder, autocast, load_network, schedule_of
from workers.foundation.texttower import TextTower

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.foundation.card import ModelCard
    from workers.foundation.noise import Denoised

OLD_NAMES = {"num_channels": "channels"}
"""Arguments that MONAI GenerativeModels called otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class MonaiLatent(MonaiModel):
    """A latent diffusion model; images ``[n, image_channels, *size]`` in 2D or 3D."""

    text: TextTower | None
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
        text = TextTower.load(folder, device=device) if (folder / "text_encoder").is_dir() else None
        dims = int(definition.autoencoder["spatial_dims"])
        return cls(card, sha256, schedule, autoencoder, unet, network.latent_channels, text, dims)

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = NOTHING_SAID) -> Denoised:
        """Estimate z_0 and e; a vector is told both by cross-attention and, where there is room, as channels."""
        noisy = z_t.to(self.device).float()
        time = self.schedule.times[step].to(self.device, torch.float32).expand(len(noisy))
        context = self._context(condition, len(noisy))
        labels = self._labels(condition, len(noisy))
        with autocast(self.device, self.dtype):
            output: Tensor = self.denoiser(self._widened(noisy, context), time, context=context, class_labels=labels)
        return self.schedule.denoised(output.float(), noisy, step)

    def describe(self, texts: list[str]) -> Tensor:
        """Give the tokens of the text encoder that lies beside the bundle."""
        if self.text is None:
            raise ModelUnsuitable(f"{self.card.name} has no text encoder: give tokens, or choose another model")
        return self.text.tokens(texts)

    def attention(self, z_t: Tensor, step: int, tokens: Tensor) -> Tensor | None:
        """Record one pass of the denoiser; None where it is not conditioned by text."""
        if self.card.conditioning is not Conditioning.TEXT or not self.denoiser.with_conditioning:
            return None
        with record_monai_cross_attention(self.denoiser) as recorder:
            self.denoise(z_t, step, Condition(tokens=tokens))
        return recorder.tokens()

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


def definition_in(folder: Path, card: ModelCard) -> NetworkDefinition:
    """Read the definition that the card names, by default ``config.json``."""
    return read_definition(_inside(folder, card.options.get("definition", "config.json")))


def weights_in(folder: Path, card: ModelCard, part: str) -> Path:
    """Find the weight file that the card names for ``part``."""
    if part not in card.options:
        raise ModelUnsuitable(f"the card of {card.name} names no weight file: add {part} to its options")
    return _inside(folder, card.options[part])


def scale_factor(card: ModelCard, *found: float | None) -> float:
    """Give the factor of the latents: the first that a checkpoint holds, else the card's."""
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
