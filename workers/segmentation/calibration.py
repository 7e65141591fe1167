"""Numbers fixed after training on tuning patients and tumour-free slices, kept beside the weights."""

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


class Mode(StrEnum):
    """How much a segmentation may cost. ``paper`` says intent only: the paper's own schedule is not known."""

    FAST = "fast"
    BALANCED = "balanced"
    PAPER = "paper"


@dataclass(frozen=True, slots=True)
class Fusion:
    """Weights of the five maps in the score; they sum to 1."""

    head: float
    attention: float
    cross_attention: float
    pixel_residual: float
    feature_residual: float

    @property
    def uses_residual(self) -> bool:
        """Whether inpainting has a say at all."""
        return self.pixel_residual > 0 or self.feature_residual > 0


@dataclass(frozen=True, slots=True)
class ModeSettings:
    """What one mode does: inpainting steps, guidance, mirrored second look, fusion and mask rule."""

    steps: int
    guidance: float
    mirrored: bool
    fusion: Fusion
    rule: MaskRule


@dataclass(frozen=True, slots=True)
class Scales:
    """``suspicion`` opens the region that is inpainted; residuals are divided by their 99th healthy percentile."""

    suspicion: float
    pixel_residual: float
    feature_residual: float


@dataclass(frozen=True, slots=True)
class CaseScale:
    """The case score: mean of the highest ``volume_ml`` of the score map, ``half`` of it mapped to 0.5."""

    volume_ml: float
    half: float


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Centre and inverse covariance of training volumes' latent statistics; ``reach`` is the farthest tuning one."""

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
    familiarity: Familiarity
    baselines: BaselineThresholds


def save(calibration: Calibration, folder: Path) -> None:
    """Write the calibration as JSON beside the weights."""
    text = json.dumps(asdict(calibration), indent=1, sort_keys=True)
    (folder / CALIBRATION_NAME).write_text(text + "\n", encoding="utf-8")


def load(folder: Path) -> Calibration:
    """Read a calibration; raises WeightsMismatch where it does not fit this code."""
    try:
        content = json.loads((folder / CALIBRATION_NAME).read_text(encoding="utf-8"))
        modes = {Mode(name): _mode(entry) for name, entry in content["modes"].items()}
        known = content["familiarity"]
        precision = tuple(tuple(row) for row in known["precision"])
        return Calibration(
            modes,
            Scales(**content["scales"]),
            CaseScale(**content["case"]),
            Familiarity(tuple(known["centre"]), precision, known["reach"]),
            BaselineThresholds(**content["baselines"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsMismatch(f"{CALIBRATION_NAME} of {folder.name} does not fit this version of oncue") from error


def _mode(entry: dict[str, object]) -> ModeSettings:
    fusion, rule = entry.pop("fusion"), entry.pop("rule")
    return ModeSettings(**entry, fusion=Fusion(**fusion), rule=MaskRule(**rule))  # type: ignore[arg-type]  # checked by the caller
