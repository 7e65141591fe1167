"""The numbers that turn maps into an answer, fixed once on tuning patients after training, kept beside the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from workers.errors import WeightsMismatch
from workers.segmentation.mask import MaskRule

if TYPE_CHECKING:
    from pathlib import Path

CALIBRATION_NAME = "calibration.json"
STORED_TRAINING = "familiarity"
"""Key under which the statistics of the training volumes are stored."""


class Mode(StrEnum):
    """How much a segmentation may cost. ``paper`` says intent only: the paper's own schedule is not known."""

    FAST = "fast"
    BALANCED = "balanced"
    PAPER = "paper"


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of the five anomaly maps in the score; they sum to 1. Their names are stored."""

    head: float
    attention: float
    cross_attention: float
    pixel_residual: float
    feature_residual: float

    @property
    def uses_residual(self) -> bool:
        """Whether a residual counts, so that slices must be inpainted."""
        return self.pixel_residual > 0 or self.feature_residual > 0


@dataclass(frozen=True, slots=True)
class ModeSettings:
    """What one mode does: inpainting steps, guidance, fusion and mask rule.

    With ``mirrored`` the networks also score the mirror image, and both are averaged.
    """

    steps: int
    guidance: float
    mirrored: bool
    fusion: Fusion
    rule: MaskRule


@dataclass(frozen=True, slots=True)
class Scales:
    """``suspicion`` is the score above which a place is inpainted; the others divide residuals.

    Those are the 99th percentiles of what inpainting changes in healthy tissue.
    """

    suspicion: float
    pixel_residual: float
    feature_residual: float


@dataclass(frozen=True, slots=True)
class CaseScale:
    """How a case is scored: by the mean of its highest scores that fill ``volume_ml``; a mean of ``half`` gives 0.5.

    ``half`` is the level at which tumour-free tuning stacks end.
    """

    volume_ml: float
    half: float

    def score(self, level: float) -> float:
        """Return the case score in 0..1 of a mean of the highest scores."""
        half = self.half
        scaled = 0.5 * level / half if level < half else 0.5 + 0.5 * (level - half) / (1.0 - half)
        return float(min(1.0, max(0.0, scaled)))


@dataclass(frozen=True, slots=True)
class TrainingStatistics:
    """Centre and inverse covariance of the training volumes' statistics, see ``out_of_distribution``.

    ``reach`` is the Mahalanobis distance of the farthest tuning volume.
    """

    centre: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    reach: float


@dataclass(frozen=True, slots=True)
class BaselineThresholds:
    """Thresholds of the baselines, fixed on the same tuning patients as everything else."""

    intensity: float
    attention: float
    residual: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Everything that turns maps into an answer."""

    modes: dict[Mode, ModeSettings]
    scales: Scales
    case: CaseScale
    training: TrainingStatistics
    baselines: BaselineThresholds


def save(calibration: Calibration, folder: Path) -> None:
    """Write the calibration as JSON beside the weights."""
    content = asdict(calibration)
    content[STORED_TRAINING] = content.pop("training")
    text = json.dumps(content, indent=1, sort_keys=True)
    (folder / CALIBRATION_NAME).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Calibration:
    """Read a calibration; raises WeightsMismatch where it does not fit this code."""
    try:
        content = json.loads((folder / CALIBRATION_NAME).read_text(encoding="utf-8"))
        modes = {Mode(name): _mode(entry) for name, entry in content["modes"].items()}
        known = content[STORED_TRAINING]
        precision = tuple(tuple(row) for row in known["precision"])
        return Calibration(
            modes,
            Scales(**content["scales"]),
            CaseScale(**content["case"]),
            TrainingStatistics(tuple(known["centre"]), precision, known["reach"]),
            BaselineThresholds(**content["baselines"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"{CALIBRATION_NAME} of {folder.name} does not fit this version of oncue") from error


def _mode(entry: dict[str, object]) -> ModeSettings:
    fusion, rule = entry.pop("fusion"), entry.pop("rule")
    return ModeSettings(**entry, fusion=Fusion(**fusion), rule=MaskRule(**rule))  # type: ignore[arg-type]  # checked by the caller
