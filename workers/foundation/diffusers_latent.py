"""Latent diffusion models in the folder layout of ``diffusers``: ``vae``, ``unet``, and what a pipeline adds to them.

Any fine-tune of Stable Diffusion 1 or 2 is such a folder; so are an autoencoder and a U-Net alone, with text or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workers.errors import ModelUnsuitable
from workers.foundation.card import ValueRange, read_config
from workers.foundation.contract import NOTHING_SAID, Condition
from workers.foundation.crossattention import record_cross_attention
from workers.foundation.diffusers_networks import library, load_network, read_schedule
from workers.foundation.texttower import TextTower
from workers.segmentation.model import encoder_features

if TYPE_CHECKING:
    from pathlib import Path

    from workers.foundation.card import ModelCard
    from workers.foundation.noise import Denoised, NoiseSchedule

AUTOENCODER = "AutoencoderKL"
DENOISERS = ("UNet2DConditionModel", "UNet2DModel")


@dataclass(frozen=True, slots=True, eq=False)
class DiffusersLatent:
    """A 2D latent diffusion model; images ``[n, 1 or image_channels, y, x]``."""

    card: ModelCard
    sha256: str
    schedule: NoiseSchedule
    device: torch.device
    dtype: torch.dtype
    autoencoder: Any
    denoiser: Any
    text: TextTower | None
    unprompted: Tensor | None
    """Tokens of the empty prompt, taken where nothing is said."""

    @classmethod
    def from_folder(
        cls, folder: Path, card: ModelCard, *, sha256: str, device: torch.device, dtype: torch.dtype
    ) -> DiffusersLatent:
        """Read a folder whose files have been checked; ModelUnsuitable for a variant that takes other inputs."""
        _class_in(folder / "vae", (AUTOENCODER,))
        kind = _class_in(folder / "unet", DENOISERS)
        schedule = read_schedule(folder, card)
        autoencoder = load_network(folder / "vae", library.AutoencoderKL, device=device, dtype=dtype)
        denoiser = load_network(folder / "unet", getattr(library, kind), device=device, dtype=dtype)
        _check_inputs(autoencoder.config, denoiser.config)
        text = TextTower.load(folder, device=device) if (folder / "text_encoder").is_dir() else None
        unprompted = text.tokens([""]) if text is not None else None
        return cls(card, sha256, schedule, device, dtype, autoencoder, denoiser, text, unprompted)

    @property
    def spatial_dims(self) -> int:
        """Two."""
        return 2

    @property
    def image_channels(self) -> int:
        """Channels of a decoded image: 3 for fine-tunes of Stable Diffusion."""
        channels: int = self.autoencoder.config.out_channels
        return channels

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        channels: int = self.autoencoder.config.latent_channels
        return channels

    @property
    def factor(self) -> int:
        """Two to the number of downsamplings."""
        return int(2 ** (len(self.autoencoder.config.block_out_channels) - 1))

    @property
    def value_range(self) -> ValueRange:
        """As the card says; -1 to 1 by default."""
        return self.card.value_range

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Give the scaled mean latents of ``images``."""
        raw: Tensor = self.autoencoder.encode(self._arranged(images)).latent_dist.mode().float()
        shift, scale = self._latent_scaling(raw)
        return (raw - shift) * scale

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Give float32 images for latents as ``encode`` makes them."""
        shift, scale = self._latent_scaling(latents)
        raw = (latents / scale + shift).to(self.device, self.dtype)
        images: Tensor = self.autoencoder.decode(raw).sample.float()
        return images

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Give the encoder's down blocks, each before it is downsampled."""
        return [stage.float() for stage in encoder_features(self.autoencoder, self._arranged(images))]

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = NOTHING_SAID) -> Denoised:
        """Estimate z_0 and e from noised latents; where nothing is said, the empty prompt is taken."""
        time = self.schedule.times[step].to(self.device, torch.float32).expand(len(z_t))
        sample = z_t.to(self.device, self.dtype)
        output = self.denoiser(sample, time, **self._inputs(condition, len(z_t))).sample.float()
        return self.schedule.denoised(output, z_t.to(self.device).float(), step)

    def describe(self, texts: list[str]) -> Tensor:
        """Give the tokens of the pipeline's own text encoder."""
        if self.text is None:
            raise ModelUnsuitable(f"{self.card.name} has no text encoder: give tokens, or choose another model")
        return self.text.tokens(texts)

    def attention(self, z_t: Tensor, step: int, tokens: Tensor) -> Tensor | None:
        """Record one pass of the denoiser; None where it takes no text."""
        if not self._takes_text:
            return None
        with record_cross_attention(self.denoiser) as recorder:
            self.denoise(z_t, step, Condition(tokens=tokens))
        return recorder.tokens()

    @property
    def _takes_text(self) -> bool:
        return isinstance(self.denoiser, library.UNet2DConditionModel)

    def _inputs(self, condition: Condition, count: int) -> dict[str, Tensor]:
        inputs: dict[str, Tensor] = {}
        if self.denoiser.config.num_class_embeds is not None:
            if condition.class_label is None:
                raise ModelUnsuitable(f"{self.card.name} must be told a class: set class_label")
            inputs["class_labels"] = torch.full((count,), condition.class_label, device=self.device)
        if self._takes_text:
            tokens = self.unprompted if condition.tokens is None else condition.tokens
            if tokens is None:
                raise ModelUnsuitable(f"{self.card.name} must be told text tokens: its folder has no text encoder")
            inputs["encoder_hidden_states"] = tokens.to(self.device, self.dtype).expand(count, -1, -1)
        return inputs

    def _arranged(self, images: Tensor) -> Tensor:
        if images.shape[1] == 1:
            images = images.expand(-1, self.autoencoder.config.in_channels, -1, -1)
        return images.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def _latent_scaling(self, like: Tensor) -> tuple[Tensor, Tensor]:
        config = self.autoencoder.config
        factor = like.new_tensor(config.scaling_factor)
        if config.latents_mean is None or config.latents_std is None:
            return like.new_tensor(config.shift_factor or 0.0), factor
        mean, std = (like.new_tensor(values).view(1, -1, 1, 1) for values in (config.latents_mean, config.latents_std))
        return mean, factor / std


def _class_in(folder: Path, known: tuple[str, ...]) -> str:
    name = read_config(folder / "config.json").get("_class_name")
    if name not in known:
        raise ModelUnsuitable(f"{folder.name} holds a {name}; this adapter reads {' and '.join(known)}")
    return str(name)


def _check_inputs(autoencoder: Any, denoiser: Any) -> None:
    if denoiser.in_channels != autoencoder.latent_channels:
        raise ModelUnsuitable(
            f"the U-Net takes {denoiser.in_channels} channels, the autoencoder gives {autoencoder.latent_channels}: "
            "variants for inpainting or editing are not read; take the plain model"
        )
    if getattr(denoiser, "addition_embed_type", None) is not None:
        raise ModelUnsuitable("the U-Net wants embeddings beyond text (as SDXL does): such models are not read")
