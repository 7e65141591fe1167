"""Train the segmentation model stage by stage: what ``oncue train foundation`` calls.

Three sets of adapters come out of it, whose probabilities the segmenter averages:

1. the *first round* learns from lesions painted on slices without tumour;
2. the *refinement* starts from the first round's weights, and learns also from whole stacks of training patients. These
   have tumours; the first round marks where (``unlabelled``), no expert's mask is read;
3. the *second reading* starts from scratch and learns from the same, marked by the first two together.
"""

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
from lab.training.settings import OnStep, Stage, StepReport, TrainingSettings
from lab.training.slices import HEAD_MR
from storage.progress import OnProgress, unheard
from workers import devices
from workers.foundation.diffusers_folder import LOADING, library
from workers.segmentation import networks
from workers.segmentation.maps import Models
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.prompts import SUBJECTS, TextEncoder, encode_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_ROUND, FIRST_ROUND, SECOND_READING = networks.FOLDERS
"""Folders of the three sets of adapters: the last round (the refinement, or the first round while there is none), the
first round, and the second reading."""
UNLABELLED_SHARE = 1.1
"""How often slices of whole stacks are drawn, against 1 for those of the corpus."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Which stages are finished; a run with the same settings goes on with the others."""

    finished: tuple[Stage, ...]
    unfinished: tuple[Stage, ...]
    seconds: float


def unheard_step(_report: StepReport) -> None:
    """Ignore the report."""


def train_foundation(
    settings: TrainingSettings, *, on_step: OnStep = unheard_step, on_calibration: OnProgress = unheard
) -> TrainingResult:
    """Train the planned stages in order, and write their weights under ``settings.out``.

    Once all are trained the calibration is chosen and the manifest written, so that the folder can be loaded. Raises
    TrainingDataMissing before the first step where ``settings.cases`` has no patients for a later one.
    """
    # A run of a few stages alone may need neither.
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
        run = Run(stage, settings.plan[stage], settings.work, stop_at, on_step)
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
    """Raise TrainingDataMissing without patients to choose thresholds on, or to use whole stacks of."""
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
    """Train the first round; later sets of an earlier run no longer fit it, and are removed."""
    backbone = _trained_autoencoder(settings, dtype)
    start = networks.load(settings.start) if settings.start else None
    encoder = TextEncoder.load()
    module, finished = adapters.train(run, backbone, sampler, encoder, seed=settings.seed, start=start)
    networks.save(module, settings.out / LAST_ROUND)
    for later in (FIRST_ROUND, SECOND_READING):
        shutil.rmtree(settings.out / later, ignore_errors=True)
    return finished


def _train_refinement(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    """Train the refinement, starting from the first round, which is kept in a folder of its own."""
    earlier = settings.out / FIRST_ROUND
    if not earlier.is_dir():
        shutil.copytree(settings.out / LAST_ROUND, earlier)
    backbone, encoder = _trained_autoencoder(settings, dtype), TextEncoder.load()
    marking = Models(backbone, (devices.frozen(networks.load(earlier), torch.device("cpu")),))
    mixed = _with_whole_stacks(settings, sampler, marking, encoder)
    start = networks.load(earlier)
    module, finished = adapters.train(run, backbone, mixed, encoder, seed=settings.seed + 1, start=start)
    networks.save(module, settings.out / LAST_ROUND)
    return finished


def _train_second_reading(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    """Train the second reading: sharing no weights with the others, it makes other mistakes than they do."""
    backbone, encoder = _trained_autoencoder(settings, dtype), TextEncoder.load()
    folders = (settings.out / name for name in (LAST_ROUND, FIRST_ROUND))
    known = tuple(devices.frozen(networks.load(folder), torch.device("cpu")) for folder in folders if folder.is_dir())
    mixed = _with_whole_stacks(settings, sampler, Models(backbone, known), encoder)
    module, finished = adapters.train(run, backbone, mixed, encoder, seed=settings.seed + 2)
    networks.save(module, settings.out / SECOND_READING)
    return finished


def _with_whole_stacks(settings: TrainingSettings, sampler: Sampler, marking: Models, encoder: TextEncoder) -> Sampler:
    """Return a sampler of the corpus and of whole stacks, on which the adapters trained so far mark the tumours.

    Two sets of adapters are certain enough for their marks to be outlined along the image's grey; one is not.
    """
    prompt = encode_prompt(encoder, calibrate.PROMPT, torch.device("cpu"), subject=SUBJECTS["MR"])
    rounds = len(marking.networks)
    whole = unlabelled.load(settings.cases, marking, prompt, outlined=rounds > 1)
    return Sampler(sampler.slices.joined(whole.showing(HEAD_MR, share=UNLABELLED_SHARE)), settings.seed + rounds)


def _train_plain(run: Run, settings: TrainingSettings, sampler: Sampler, dtype: torch.dtype) -> bool:
    module, finished = plain.train(run, sampler, seed=settings.seed, dtype=dtype)
    plain_network.save(module, settings.out / PLAIN_FOLDER)
    return finished


def _trained_autoencoder(settings: TrainingSettings, dtype: torch.dtype) -> LatentDiffusion:
    """Return the autoencoder that an earlier stage has trained, without a denoiser."""
    device = torch.device("cpu")
    autoencoder = library.AutoencoderKL.from_pretrained(settings.out / "vae", torch_dtype=dtype, **LOADING)
    return LatentDiffusion(devices.frozen(autoencoder, device), None, device, dtype)


_STAGES: dict[Stage, Callable[[Run, TrainingSettings, Sampler, torch.dtype], bool]] = {
    Stage.AUTOENCODER: _train_autoencoder,
    Stage.DENOISER: _train_denoiser,
    Stage.ADAPTERS: _train_adapters,
    Stage.REFINEMENT: _train_refinement,
    Stage.SECOND_READING: _train_second_reading,
    Stage.PLAIN: _train_plain,
}
