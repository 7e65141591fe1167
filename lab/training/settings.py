"""What a training run is told, and what it tells back while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lab.training.corpus import Corpus


class Stage(StrEnum):
    """The parts of a run, in order; adapters and denoiser rest on the autoencoder."""

    AUTOENCODER = "autoencoder"
    ADAPTERS = "adapters"
    REFINEMENT = "refinement"
    """A second round for the adapters, on whole unlabelled stacks that the first round has marked."""
    SECOND_READING = "second-reading"
    """Adapters of their own, begun from nothing, on whole stacks that both rounds have marked."""
    DENOISER = "denoiser"
    PLAIN = "plain"
    """The plain network of the evaluation's baseline, on the same lesions."""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """Optimiser steps, samples per step and highest learning rate of one stage."""

    steps: int
    batch: int
    learning_rate: float


DEFAULT_STAGES = {
    Stage.AUTOENCODER: StageSettings(steps=500, batch=8, learning_rate=1.5e-3),
    Stage.ADAPTERS: StageSettings(steps=3000, batch=12, learning_rate=2e-3),
    Stage.REFINEMENT: StageSettings(steps=2800, batch=12, learning_rate=1.5e-3),
    Stage.SECOND_READING: StageSettings(steps=3000, batch=12, learning_rate=2e-3),
    Stage.DENOISER: StageSettings(steps=400, batch=16, learning_rate=4e-4),
    Stage.PLAIN: StageSettings(steps=1200, batch=16, learning_rate=2e-3),
}
SHORT_STAGES = {
    Stage.AUTOENCODER: StageSettings(steps=200, batch=8, learning_rate=2e-3),
    Stage.ADAPTERS: StageSettings(steps=850, batch=12, learning_rate=2e-3),
    Stage.REFINEMENT: StageSettings(steps=500, batch=12, learning_rate=1.5e-3),
    Stage.DENOISER: StageSettings(steps=120, batch=16, learning_rate=4e-4),
    Stage.PLAIN: StageSettings(steps=350, batch=16, learning_rate=2e-3),
}


class Plan(StrEnum):
    """How long to train on two cores: two to three hours, or within one, with no second reading."""

    FULL = "full"
    SHORT = "short"


PLANS = {Plan.FULL: DEFAULT_STAGES, Plan.SHORT: SHORT_STAGES}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """One training run.

    ``corpus`` is trained on, ``cases`` the folder of ``PATIENT.npz`` files whose tuning patients fix the calibration,
    ``out`` receives the weights (diffusers layout) and ``work`` the
    checkpoints and loss logs; a run with the same settings goes on from the last checkpoint in ``work``. The result
    depends on the seed and the steps alone: ``deadline_minutes`` only stops early, for a later run to go on.
    """

    corpus: Corpus
    cases: Path
    out: Path
    work: Path
    stages: tuple[Stage, ...] = tuple(Stage)
    """Of these, what is in the plan is trained."""
    plan: dict[Stage, StageSettings] = field(default_factory=lambda: dict(DEFAULT_STAGES))
    seed: int = 0
    threads: int = 2
    deadline_minutes: float = 170.0
    dtype: str = "auto"
    start: Path | None = None
    """Folder of adapters to go on from with other lesions or data; None to begin from nothing."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One report from a running stage; ``loss`` is smoothed over about fifty steps."""

    stage: Stage
    step: int
    steps: int
    loss: float
    seconds: float


OnProgress = Callable[[Progress], None]
