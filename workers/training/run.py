"""Train the foundation model and the adapters: the one entry that ``oncue train`` calls."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from workers import devices
from workers.segmentation import attention
from workers.segmentation import plain as plain_network
from workers.segmentation.backbone import LatentDiffusion
from workers.segmentation.text import TextEncoder
from workers.training import adapters, autoencoder, corpus, denoiser, plain, plot
from workers.training.loop import Run
from workers.training.publish import PLAIN_FOLDER, publish
from workers.training.samples import Sampler
from workers.training.settings import OnProgress, Progress, Stage, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Which stages are finished; an unfinished one goes on when the run is repeated with the same settings."""

    finished: tuple[Stage, ...]
    unfinished: tuple[Stage, ...]
    seconds: float


def silent(_progress: Progress) -> None:
    """Report nothing."""


def train_foundation(settings: TrainingSettings, *, on_progress: OnProgress = silent) -> TrainingResult:
    """Train the stages in order and write their weights under ``settings.out``.

    Raises TrainingDataMissing where ``settings.cases`` holds no training patient.
    """
    started = time.monotonic()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(settings.threads)
    dtype = devices.choose_dtype(torch.device("cpu"), settings.dtype)
    sampler = Sampler(corpus.load(settings.corpus), settings.seed)
    outcomes: dict[Stage, bool] = {}
    for stage in settings.stages:
        stop_at = started + 60.0 * settings.deadline_minutes
        run = Run(stage, settings.plan[stage], settings.work, stop_at, on_progress)
        outcomes[stage] = _STAGES[stage](run, settings, sampler, dtype)
        plot.draw_losses(settings.work)
        if not outcomes[stage]:
            break
    if all(outcomes.values()) and (settings.out / "unet").is_dir() and (settings.out / "adapters").is_dir():
        publish(settings)
    unfinished = tuple(stage for stage in settings.stages if not outcomes.get(stage))
    return TrainingResult(
        tuple(stage for stage in settings.stages if outcomes.get(stage)), unfinished, time.monotonic() - started
    )


def _train_autoencoder(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    model, finished = autoencoder.train(run, sampler, seed=settings.seed, dtype=dtype)
    model.to(torch.float16).save_pretrained(settings.out / "vae", safe_serialization=True)
    return finished


def _train_denoiser(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    backbone = _trained_autoencoder(settings, dtype)
    model, finished = denoiser.train(run, backbone, sampler, TextEncoder.load(), seed=settings.seed)
    model.to(torch.float16).save_pretrained(settings.out / "unet", safe_serialization=True)
    return finished


def _train_adapters(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    backbone = _trained_autoencoder(settings, dtype)
    start = attention.load(settings.start) if settings.start else None
    encoder = TextEncoder.load()
    module, finished = adapters.train(run, backbone, sampler, encoder, seed=settings.seed, start=start)
    attention.save(module, settings.out / "adapters")
    return finished


def _train_plain(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    module, finished = plain.train(run, sampler, seed=settings.seed, dtype=dtype)
    plain_network.save(module, settings.out / PLAIN_FOLDER)
    return finished


def _trained_autoencoder(settings: TrainingSettings, dtype: torch.dtype) -> LatentDiffusion:
    """Load the autoencoder of an earlier stage; what stands on it never asks it to denoise."""
    return LatentDiffusion.autoencoder_only(settings.out, device=torch.device("cpu"), dtype=dtype)


_STAGES: dict[Stage, Callable[[Run, TrainingSettings, Sampler, torch.dtype], bool]] = {
    Stage.AUTOENCODER: _train_autoencoder,
    Stage.DENOISER: _train_denoiser,
    Stage.ADAPTERS: _train_adapters,
    Stage.PLAIN: _train_plain,
}
