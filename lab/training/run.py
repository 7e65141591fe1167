"""Train the foundation model and the adapters: the one entry that ``oncue train`` calls."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lab.patients import Role
from lab.segmentation import plain_unet as plain_network
from lab.training import adapters, autoencoder, calibrate, corpus, denoiser, plain, plot, slices, unlabelled
from lab.training.loop import Run
from lab.training.publish import PLAIN_FOLDER, publish
from lab.training.samples import Sampler
from lab.training.settings import OnProgress, Progress, Stage, TrainingSettings
from lab.training.slices import HEAD_MR
from workers import devices
from workers.segmentation import attention, maps, segmenter
from workers.segmentation.backbone import LatentDiffusion, frozen
from workers.segmentation.maps import Models
from workers.segmentation.prompts import SUBJECTS, TextEncoder
from workers.segmentation.segmenter import encode_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_ROUND, FIRST_ROUND, SECOND_READING = attention.ROUNDS
"""The first round's adapters are kept: the refinement starts from them and marks stacks with them, and what they
answer is averaged with what it answers."""
UNLABELLED_SHARE = 1.1
"""How often whole stacks are drawn, beside the corpus, whose shares sum to one."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Which stages are finished; an unfinished one goes on when the run is repeated with the same settings."""

    finished: tuple[Stage, ...]
    unfinished: tuple[Stage, ...]
    seconds: float


def silent(_progress: Progress) -> None:
    """Report nothing."""


def train_foundation(
    settings: TrainingSettings, *, on_progress: OnProgress = silent, on_calibration: maps.OnProgress = segmenter.silent
) -> TrainingResult:
    """Train the stages in order, write their weights under ``settings.out``, and fix the calibration.

    Raises TrainingDataMissing where ``settings.cases`` lacks patients for training, for the rounds' marks or for fixing
    thresholds: before the first step, not hours later.
    """
    # A run of some stages alone fixes no thresholds and may mark nothing.
    if len(settings.stages) == len(Stage):
        _check_patients(settings)
    started = time.monotonic()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    torch.set_num_threads(settings.threads)
    dtype = devices.choose_dtype(torch.device("cpu"), settings.dtype)
    sampler = Sampler(corpus.load(settings.corpus), settings.seed)
    outcomes: dict[Stage, bool] = {}
    planned = [stage for stage in settings.stages if stage in settings.plan]
    for stage in planned:
        stop_at = started + 60.0 * settings.deadline_minutes
        run = Run(stage, settings.plan[stage], settings.work, stop_at, on_progress)
        outcomes[stage] = _STAGES[stage](run, settings, sampler, dtype)
        plot.draw_losses(settings.work)
        if not outcomes[stage]:
            break
    if all(outcomes.values()) and (settings.out / "unet").is_dir() and (settings.out / LAST_ROUND).is_dir():
        publish(settings, on_calibration)
    unfinished = tuple(stage for stage in planned if not outcomes.get(stage))
    return TrainingResult(
        tuple(stage for stage in planned if outcomes.get(stage)), unfinished, time.monotonic() - started
    )


def _check_patients(settings: TrainingSettings) -> None:
    slices.patient_files(settings.cases, Role.TUNE)
    unlabelled.stacks(settings.cases)


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
    attention.save(module, settings.out / LAST_ROUND)
    for later in (FIRST_ROUND, SECOND_READING):
        shutil.rmtree(settings.out / later, ignore_errors=True)
    return finished


def _train_refinement(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    """Go on with the adapters, on the first round's slices and on whole stacks that it marks."""
    earlier = settings.out / FIRST_ROUND
    if not earlier.is_dir():
        shutil.copytree(settings.out / LAST_ROUND, earlier)
    backbone, encoder = _trained_autoencoder(settings, dtype), TextEncoder.load()
    marking = Models(backbone, (frozen(attention.load(earlier), torch.device("cpu")),))
    mixed = _with_whole_stacks(settings, sampler, marking, encoder)
    start = attention.load(earlier)
    module, finished = adapters.train(run, backbone, mixed, encoder, seed=settings.seed + 1, start=start)
    attention.save(module, settings.out / LAST_ROUND)
    return finished


def _train_second_reading(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    """Train adapters that owe the others nothing but the marks on whole stacks: they err elsewhere."""
    backbone, encoder = _trained_autoencoder(settings, dtype), TextEncoder.load()
    folders = (settings.out / name for name in (LAST_ROUND, FIRST_ROUND))
    known = tuple(frozen(attention.load(folder), torch.device("cpu")) for folder in folders if folder.is_dir())
    mixed = _with_whole_stacks(settings, sampler, Models(backbone, known), encoder)
    module, finished = adapters.train(run, backbone, mixed, encoder, seed=settings.seed + 2)
    attention.save(module, settings.out / SECOND_READING)
    return finished


def _with_whole_stacks(settings: TrainingSettings, sampler: Sampler, marking: Models, encoder: TextEncoder) -> Sampler:
    """Join the corpus with whole stacks, marked by the rounds so far; several of them are trusted with outlines."""
    prompt = encode_prompt(encoder, calibrate.PROMPT, torch.device("cpu"), subject=SUBJECTS["MR"])
    rounds = len(marking.rounds)
    whole = unlabelled.load(settings.cases, marking, prompt, outlined=rounds > 1)
    return Sampler(sampler.slices.joined(whole.showing(HEAD_MR, share=UNLABELLED_SHARE)), settings.seed + rounds)


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
    Stage.REFINEMENT: _train_refinement,
    Stage.SECOND_READING: _train_second_reading,
    Stage.PLAIN: _train_plain,
}
