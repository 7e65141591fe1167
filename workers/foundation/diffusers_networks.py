"""Networks and schedules read from folders that ``diffusers`` wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import diffusers
import torch

from workers.errors import ModelUnsuitable, WeightsMismatch
from workers.foundation.card import read_config
from workers.foundation.checkpoint import SAFE, TORCH_FILES, read_checkpoint
from workers.foundation.noise import NoiseSchedule, PredictionKind, TimeShift, diffusion, rectified_flow
from workers.segmentation.model import LOADING, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from workers.foundation.card import ModelCard

library: Any = diffusers  # its classes carry only part of their types
SCHEDULER_FILE = "scheduler_config.json"
SCHEDULER_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def load_network(folder: Path, kind: type[Any], *, device: torch.device, dtype: torch.dtype) -> Any:
    """Read one network with its own ``config.json``, frozen; anything but plain tensors is refused before."""
    options = LOADING | {"use_safetensors": has_safe_weights(folder)}
    try:
        network = kind.from_pretrained(folder, torch_dtype=dtype, **options)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"the weights in {folder.name} do not fit its config.json: restore the folder") from error
    return frozen(network, device)


def has_safe_weights(folder: Path) -> bool:
    """Say whether a folder has safetensors; else try its other weight files, which must be plain tensors."""
    if any(folder.glob(f"*{SAFE}")):
        return True
    pickled = sorted(path for path in folder.iterdir() if path.suffix in TORCH_FILES)
    if not pickled:
        raise WeightsMismatch(f"{folder.name} holds no weights: restore the folder")
    for path in pickled:
        read_checkpoint(path)
    return False


def read_schedule(folder: Path, card: ModelCard) -> NoiseSchedule:
    """Read ``scheduler/`` of a pipeline's folder, or ``scheduler`` among the card's options where there is none."""
    if "scheduler" in card.options:
        return schedule_of(card.options["scheduler"])
    for path in (folder / "scheduler" / SCHEDULER_FILE, folder / SCHEDULER_FILE):
        if path.is_file():
            return schedule_of(read_config(path))
    raise ModelUnsuitable(f"{folder.name} has no scheduler: copy it, or name its betas in the card's options")


def schedule_of(config: Mapping[str, Any]) -> NoiseSchedule:
    """Make the noise schedule that a ``diffusers`` scheduler's configuration describes, whatever its sampler."""
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
