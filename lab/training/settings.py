"""The settings of a training run, and what it reports while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from lab.training.corpus import Corpus


class Stage(StrEnum):
    """The stages of a run, in order; all but the plain network need the autoencoder."""

    AUTOENCODER = "autoencoder"
    ADAPTERS = "adapters"
    REFINEMENT = "refinement"
    """The adapters go on, also on whole stacks of patients, whose tumours the first round has marked (no labels)."""
    SECOND_READING = "second-reading"
    """A further set of adapters, trained from scratch, also on whole stacks that both rounds have marked."""
    DENOISER = "denoiser"
    PLAIN = "plain"
    """The evaluation's baseline: a plain network, trained on the same painted lesions."""


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
    """How long to train on two cores: two to three hours, or less than one, without the second reading."""

    FULL = "full"
    SHORT = "short"


PLANS = {Plan.FULL: DEFAULT_STAGES, Plan.SHORT: SHORT_STAGES}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """One training run.

    ``corpus`` describes what is trained on; ``cases`` is the folder of ``PATIENT.npz`` files on which the calibration
    is chosen. ``out`` receives the weights (diffusers layout), ``work`` the checkpoints and the logs of the losses: a
    run with the same settings goes on from there. The weights depend on the seed and on the steps alone;
    ``deadline_minutes`` only stops a run early, for a later one to go on.
    """

    corpus: Corpus
    cases: Path
    out: Path
    work: Path
    stages: tuple[Stage, ...] = tuple(Stage)
    """The stages to train, as far as the plan has them."""
    plan: dict[Stage, StageSettings] = field(default_factory=lambda: dict(DEFAULT_STAGES))
    seed: int = 0
    threads: int = 2
    deadline_minutes: float = 170.0
    dtype: str = "auto"
    start: Path | None = None
    """Folder of adapters from which the stage ``adapters`` starts; None to start from scratch."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """How far a stage is: ``step`` of ``steps``, and the loss, smoothed over about fifty steps."""

    stage: str
    step: int
    steps: int
    loss: float
    seconds: float


OnStep = Callable[[StepReport], None]
"""Is told about every tenth step of a stage."""
