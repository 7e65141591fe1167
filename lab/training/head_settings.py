"""The settings of the training of a head on a foundation model's features, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.training.settings import StageSettings

if TYPE_CHECKING:
    from pathlib import Path

    from workers.zero_shot.feature_head import HeadCard

LEARNING_RATE = 2e-3


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """One training of a head.

    ``cases`` is the folder of ``PATIENT.npz`` files, taken to be healthy but for what their masks mark. ``out``
    receives the head (None: ``head/`` in the model's folder), ``work`` the checkpoint and the log. ``modality`` is that
    of the cases (None: the first of the model's card, else MR). The weights depend on seed, steps and batch alone.
    """

    foundation: Path
    cases: Path
    work: Path
    out: Path | None = None
    modality: str | None = None
    steps: int = 1500
    batch: int = 8
    seed: int = 0
    threads: int = 2
    deadline_minutes: float = 170.0
    device: str = "auto"
    dtype: str = "auto"

    @property
    def plan(self) -> StageSettings:
        """Return the plan of the one stage."""
        return StageSettings(self.steps, self.batch, LEARNING_RATE)


@dataclass(frozen=True, slots=True)
class HeadResult:
    """The folder and the card of a finished head; no card where the deadline came first."""

    folder: Path
    card: HeadCard | None
    seconds: float
