"""MAISI (Guo et al., WACV 2025): volumes, by rectified flow or by denoising diffusion, as MONAI ships its networks.

Volumes are ``[n, 1, x, y, z]`` running to right, front and head (RAS), in 0..1: CT clipped to -1000..1000 HU, MR up to
its 99.5th percentile. Sides that are multiples of 128 are recommended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.errors import ModelUnsuitable
from workers.foundation.contract import NOTHING_SAID, BodyRegion, Condition
from workers.foundation.monai_latent import definition_in, scale_factor, weights_in
from workers.foundation.monai_model import MonaiModel
from workers.foundation.monai_networks import MonaiAutoencoder, autocast, load_network, schedule_of

if TYPE_CHECKING:
    from pathlib import Path

    from workers.foundation.card import ModelCard
    from workers.foundation.noise import Denoised

INPUT_SCALE = 100.0
"""By what the networks were told spacings in millimetres and one-hot regions in training."""
WINDOW = 128
"""Longest side in voxels that is encoded and decoded in one piece where the card sets no ``window``."""


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
    def denoise(self, z_t: Tensor, step: int, condition: Condition = NOTHING_SAID) -> Denoised:
        """Estimate z_0 and e; the spacing must be told, and the class or the regions that the network takes."""
        noisy = z_t.to(self.device).float()
        time = self.schedule.times[step].to(self.device, torch.float32).expand(len(noisy))
        with autocast(self.device, self.dtype):
            output: Tensor = self.denoiser(noisy, time, **self._inputs(condition, len(noisy)))
        return self.schedule.denoised(output.float(), noisy, step)

    def describe(self, texts: list[str]) -> Tensor:
        """Refuse: MAISI takes no text."""
        raise ModelUnsuitable(f"{self.card.name} takes no text, so {len(texts)} prompts say nothing to it")

    def attention(self, z_t: Tensor, step: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002 - the contract's form
        """Give nothing: there is no text cross-attention."""
        return None

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
