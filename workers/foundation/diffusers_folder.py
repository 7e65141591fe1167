"""Latent diffusion models in the folder layout of ``diffusers``: ``vae``, ``unet``, and what a pipeline adds to them.

Any fine-tune of Stable Diffusion 1 or 2 is such a folder; so are an autoencoder and a U-Net alone, with text or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import diffusers
import torch
from torch import Tensor

from workers.devices import frozen
from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.foundation.card import read_config
from workers.foundation.contract import UNCONDITIONED, Condition
from workers.foundation.noise import NoiseSchedule, PredictionKind, TimeShift, diffusion, rectified_flow
from workers.foundation.weight_files import SAFE, TORCH_FILES, read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.foundation.card import ModelCard
    from workers.foundation.noise import Denoised

library: Any = diffusers  # its classes carry only part of their types
LOADING: dict[str, Any] = {"use_safetensors": True, "low_cpu_mem_usage": False, "local_files_only": True}
"""Never pickles, never the network; and without ``accelerate``, which diffusers would else recommend at each start."""
AUTOENCODER = "AutoencoderKL"
DENOISERS = ("UNet2DConditionModel", "UNet2DModel")
SCHEDULER_FILE = "scheduler_config.json"
SCHEDULER_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


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
    text: PipelineText | None
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
        text = PipelineText.load(folder, device=device) if (folder / "text_encoder").is_dir() else None
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

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled mean latents of ``images``."""
        raw: Tensor = self.autoencoder.encode(self._arranged(images)).latent_dist.mode().float()
        shift, scale = self._latent_scaling(raw)
        return (raw - shift) * scale

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images for latents as ``encode`` makes them."""
        shift, scale = self._latent_scaling(latents)
        raw = (latents / scale + shift).to(self.device, self.dtype)
        images: Tensor = self.autoencoder.decode(raw).sample.float()
        return images

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Return the encoder's down blocks, each before it is downsampled."""
        return [stage.float() for stage in encoder_features(self.autoencoder, self._arranged(images))]

    @torch.inference_mode()
    def denoise(self, z_t: Tensor, step: int, condition: Condition = UNCONDITIONED) -> Denoised:
        """Return estimates of z_0 and e from noised latents; where nothing is said, the empty prompt is taken."""
        time = self.schedule.times[step].to(self.device, torch.float32).expand(len(z_t))
        sample = z_t.to(self.device, self.dtype)
        output = self.denoiser(sample, time, **self._inputs(condition, len(z_t))).sample.float()
        return self.schedule.denoised(output, z_t.to(self.device).float(), step)

    def describe(self, texts: list[str]) -> Tensor:
        """Return the tokens of the pipeline's own text encoder."""
        if self.text is None:
            raise ModelUnsuitable(f"{self.card.name} has no text encoder: give tokens, or choose another model")
        return self.text.tokens(texts)

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
        raise ModelUnsuitable(f"{folder.name} holds a {name}; this loader reads {' and '.join(known)}")
    return str(name)


def _check_inputs(autoencoder: Any, denoiser: Any) -> None:
    if denoiser.in_channels != autoencoder.latent_channels:
        raise ModelUnsuitable(
            f"the U-Net takes {denoiser.in_channels} channels, the autoencoder gives {autoencoder.latent_channels}: "
            "variants for inpainting or editing are not read; take the plain model"
        )
    if getattr(denoiser, "addition_embed_type", None) is not None:
        raise ModelUnsuitable("the U-Net wants embeddings beyond text (as SDXL does): such models are not read")


def load_network(folder: Path, kind: type[Any], *, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a network with its own ``config.json``, frozen; anything but plain tensors is refused before."""
    options = LOADING | {"use_safetensors": has_safe_weights(folder)}
    try:
        network = kind.from_pretrained(folder, torch_dtype=dtype, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"the weights in {folder.name} do not fit its config.json: restore the folder") from error
    return frozen(network, device)


def has_safe_weights(folder: Path) -> bool:
    """Return whether a folder has safetensors; else try its other weight files, which must be plain tensors."""
    if any(folder.glob(f"*{SAFE}")):
        return True
    pickled = sorted(path for path in folder.iterdir() if path.suffix in TORCH_FILES)
    if not pickled:
        raise WeightsMismatch(f"{folder.name} holds no weights: restore the folder")
    for path in pickled:
        read_checkpoint(path)
    return False


def read_schedule(folder: Path, card: ModelCard) -> NoiseSchedule:
    """Return the schedule in ``scheduler/`` of a pipeline's folder, or among the card's options."""
    if "scheduler" in card.options:
        return schedule_of(card.options["scheduler"])
    for path in (folder / "scheduler" / SCHEDULER_FILE, folder / SCHEDULER_FILE):
        if path.is_file():
            return schedule_of(read_config(path))
    raise ModelUnsuitable(f"{folder.name} has no scheduler: copy it, or name its betas in the card's options")


def schedule_of(config: Mapping[str, Any]) -> NoiseSchedule:
    """Return the noise schedule that a ``diffusers`` scheduler's configuration describes, whatever its sampler."""
    if "FlowMatch" in str(config.get("_class_name", "")):
        steps, shift = int(config.get("num_train_timesteps", 1000)), float(config.get("shift", 1.0))
        return rectified_flow(PredictionKind.FLOW, steps=steps, shift=TimeShift(shift) if shift != 1.0 else None)
    known = {key: config[key] for key in SCHEDULER_KEYS if key in config}
    try:
        kind = PredictionKind(config.get("prediction_type", PredictionKind.EPSILON))
        alpha_bars = library.DDIMScheduler(**known).alphas_cumprod
    except (ValueError, NotImplementedError, TypeError) as error:  # diffusers' own answers to betas it does not know
        raise ModelUnsuitable(f"the scheduler's configuration is not understood: {error}") from error
    clip = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample", False) else None
    return replace(diffusion(alpha_bars, kind), clip=clip)


@dataclass(frozen=True, slots=True, eq=False)
class PipelineText:
    """Tokenizer and text encoder of a pipeline's folder; text is encoded in float32, once per prompt."""

    tokenizer: Any
    encoder: Any
    device: torch.device

    @classmethod
    def load(cls, folder: Path, *, device: torch.device) -> PipelineText:
        """Read both from ``folder``, never from the network and never a pickle; no code that the folder brings runs."""
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        chatter: Any = logging
        chatter.disable_progress_bar()  # a worker's standard error is its log
        safe = has_safe_weights(folder / "text_encoder")
        try:
            encoder = AutoModel.from_pretrained(folder / "text_encoder", local_files_only=True, use_safetensors=safe)
            tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelUnsuitable(f"the text encoder of {folder.name} cannot be read: restore the folder") from error
        return cls(tokenizer, encoder.to(device).eval().requires_grad_(requires_grad=False), device)

    @torch.inference_mode()
    def tokens(self, texts: list[str]) -> Tensor:
        """Return token embeddings ``[n, tokens, width]``, padded and cut to the tokenizer's own length."""
        encoded = self.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.tokenizer.model_max_length,
            return_tensors="pt",
        )
        hidden: Tensor = self.encoder(encoded["input_ids"].to(self.device)).last_hidden_state
        return hidden.float()


def encoder_features(autoencoder: Any, images: Tensor) -> list[Tensor]:
    """Return the output of each stage of an encoder's down path before it is downsampled."""
    hidden = autoencoder.encoder.conv_in(images)
    stages = []
    for block in autoencoder.encoder.down_blocks:
        for resnet in block.resnets:
            hidden = resnet(hidden, temb=None)
        stages.append(hidden)
        for downsampler in block.downsamplers or ():
            hidden = downsampler(hidden)
    return stages
