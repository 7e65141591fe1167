"""Networks and schedules of MONAI: built from a bundle's definition, filled from plain tensors, run under autocast.

Definitions are plain data: expressions in them (``$...``) are never evaluated. Weights stay float32, because several of
MONAI's blocks normalise in it whatever their weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.foundation.card import read_config
from workers.foundation.noise import TRAINING_STEPS, NoiseSchedule, PredictionKind, TimeShift, diffusion, rectified_flow
from workers.foundation.weight_files import Checkpoint, read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE_PLACES = 32**3
OVERLAP = 0.25
"""Share by which neighbouring windows overlap."""
AUTOENCODERS = ("autoencoder_def", "autoencoder")
DENOISERS = ("diffusion_unet_def", "diffusion_def", "network_def", "diffusion", "denoiser")
SCHEDULERS = ("noise_scheduler", "scheduler")


@dataclass(frozen=True, slots=True)
class NetworkDefinition:
    """Constructor arguments of the autoencoder and the denoiser, and the scheduler's with its class in ``_target_``."""

    autoencoder: Mapping[str, Any]
    denoiser: Mapping[str, Any]
    scheduler: Mapping[str, Any]


def read_definition(path: Path) -> NetworkDefinition:
    """Return what a bundle's JSON configuration defines; ModelUnsuitable names what is missing or is no plain value."""
    content = read_config(path)
    autoencoder, denoiser = (_part(content, names, path) for names in (AUTOENCODERS, DENOISERS))
    scheduler = _part(content, SCHEDULERS, path)
    return NetworkDefinition(_arguments(autoencoder), _arguments(denoiser), scheduler)


def _part(content: dict[str, Any], names: tuple[str, ...], path: Path) -> dict[str, Any]:
    for name in names:
        if isinstance(content.get(name), dict):
            return {key: _resolved(value, content, path) for key, value in content[name].items() if key != "_requires_"}
    raise ModelUnsuitable(f"{path.name} defines no {names[0]}: name the bundle's configuration in the card")


def _resolved(value: Any, content: dict[str, Any], path: Path) -> Any:
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in content:
            raise ModelUnsuitable(f"{path.name} refers to {value}, which it does not define")
        return _resolved(content[value[1:]], content, path)
    if isinstance(value, str) and value.startswith("$"):
        raise ModelUnsuitable(f"{path.name} holds an expression, which is not evaluated: write its value instead")
    if isinstance(value, list):
        return [_resolved(item, content, path) for item in value]
    return value


def _arguments(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if not key.startswith("_")}


def load_network(
    kind: Callable[..., nn.Module], arguments: Mapping[str, Any], path: Path, *, device: torch.device
) -> tuple[Any, Checkpoint]:
    """Return a network filled from ``path``, also with the names of MONAI GenerativeModels; frozen, in float32.

    Raises ModelUnsuitable where the definition is not the network's, WeightsMismatch where the weights do not fit it.
    """
    allowed = dict(arguments)
    if device.type != "cuda" and "use_flash_attention" in allowed:
        allowed["use_flash_attention"] = False
    try:
        network: Any = kind(**allowed)
    except (TypeError, ValueError) as error:
        raise ModelUnsuitable(f"the definition does not describe a network of its kind: {error}") from error
    checkpoint = read_checkpoint(path)
    _fill(network, checkpoint, path)
    return network.to(device).eval().requires_grad_(requires_grad=False), checkpoint


def _fill(network: Any, checkpoint: Checkpoint, path: Path) -> None:
    weights = dict(checkpoint.weights)
    try:
        if weights.keys() == network.state_dict().keys():
            network.load_state_dict(weights)
            return
        _spoil(network)
        with redirect_stdout(StringIO()):  # it prints
            network.load_old_state_dict(weights)
    except (RuntimeError, KeyError, AttributeError) as error:
        raise WeightsMismatch(f"{path.name} does not fit the definition: restore the file") from error
    if weights or any(bool(part.isnan().any()) for part in network.state_dict().values()):
        raise WeightsMismatch(f"{path.name} lacks weights that the definition wants, or has others: restore the file")


@torch.no_grad()
def _spoil(network: nn.Module) -> None:
    """Fill a network with NaN: reading old names leaves what it does not find as it was, without a word."""
    for part in network.state_dict().values():
        part.fill_(torch.nan)


def schedule_of(scheduler: Mapping[str, Any]) -> NoiseSchedule:
    """Return the noise schedule that a scheduler's definition describes, of MONAI or of GenerativeModels."""
    from monai.networks.schedulers import DDPMScheduler

    steps = int(scheduler.get("num_train_timesteps", TRAINING_STEPS))
    if str(scheduler.get("_target_", "")).endswith("RFlowScheduler"):
        return rectified_flow(PredictionKind.FLOW_TO_IMAGE, steps=steps, shift=_shift(scheduler))
    name = str(scheduler.get("schedule", scheduler.get("beta_schedule", "linear_beta")))
    betas = {key: scheduler[key] for key in ("beta_start", "beta_end") if key in scheduler}
    try:
        kind = PredictionKind(scheduler.get("prediction_type", PredictionKind.EPSILON))
        schedule = name if name.endswith("_beta") or name == "cosine" else f"{name}_beta"
        alpha_bars = DDPMScheduler(num_train_timesteps=steps, schedule=schedule, **betas).alphas_cumprod
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelUnsuitable(f"the scheduler's definition is not understood: {error}") from error
    return diffusion(alpha_bars, kind)


def _shift(scheduler: Mapping[str, Any]) -> TimeShift | None:
    if not scheduler.get("use_timestep_transform", False):
        return None
    places = int(scheduler.get("base_img_size_numel", REFERENCE_PLACES))
    return TimeShift(float(scheduler.get("transform_scale", 1.0)), places)


@dataclass(frozen=True, slots=True, eq=False)
class MonaiAutoencoder:
    """MONAI's autoencoder in two or three dimensions; latents are the posterior's mean times ``scale``.

    A volume with a side longer than ``window`` voxels is encoded and decoded in overlapping windows of that size.
    """

    network: Any
    scale: float
    device: torch.device
    dtype: torch.dtype
    window: int | None = None

    @property
    def factor(self) -> int:
        """Two to the number of downsamplings."""
        return int(2 ** len(self._downsamplers()))

    @property
    def image_channels(self) -> int:
        """Channels of a decoded image."""
        channels: int = next(reversed(list(self.network.decoder.parameters()))).shape[0]
        return channels

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled mean latents, float32."""
        mean = self._windowed(images, lambda part: self.network.encode(part)[0].float(), self.window)
        return mean * self.scale

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return float32 images."""
        window = None if self.window is None else self.window // self.factor
        return self._windowed(latents / self.scale, lambda part: self.network.decode(part).float(), window)

    @torch.inference_mode()
    def features(self, images: Tensor) -> list[Tensor]:
        """Return what goes into each downsampling and into the last normalisation, shallow to deep.

        For MAISI these are the outputs of blocks 2, 5 and 8 of the encoder. Never windowed.
        """
        stages: list[Tensor] = []
        blocks = self.network.encoder.blocks
        taps = [*(index - 1 for index in self._downsamplers()), len(blocks) - 3]
        hooks = [
            blocks[tap].register_forward_hook(lambda _block, _inputs, output: stages.append(output.float()))
            for tap in taps
        ]
        try:
            with autocast(self.device, self.dtype):
                self.network.encoder(images.to(self.device).float())
        finally:
            for hook in hooks:
                hook.remove()
        return stages

    def _downsamplers(self) -> list[int]:
        blocks = self.network.encoder.blocks
        return [index for index, block in enumerate(blocks) if type(block).__name__.endswith("Downsample")]

    def _windowed(self, tensor: Tensor, run: Callable[[Tensor], Tensor], window: int | None) -> Tensor:
        tensor = tensor.to(self.device).float()
        with autocast(self.device, self.dtype):
            if window is None or max(tensor.shape[2:]) <= window:
                return run(tensor)
            from monai.inferers.utils import sliding_window_inference

            size = [min(side, window) for side in tensor.shape[2:]]
            whole: Tensor = sliding_window_inference(tensor, size, 1, run, overlap=OVERLAP, mode="gaussian")
            return whole


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Return a context that computes in ``dtype`` where it is not float32 anyway."""
    return torch.autocast(device.type, dtype, enabled=dtype is not torch.float32)
