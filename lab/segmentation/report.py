"""What an evaluation found: the keys that others script against, and everything beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lab.bootstrap import RESAMPLES, Estimate
from lab.segmentation.measuring import Figures, MaskFigures
from lab.segmentation.predictions import Way


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """What one case gave. ``refused`` is the code of a refusal; nothing was found then.

    ``spacing_assumed`` says that the case does not record its spacing. ``baseline_dice`` holds (way, Dice) pairs.
    """

    case: str
    patient: str
    mask: MaskFigures
    auprc: float | None
    slice_auroc: float | None
    case_score: float
    out_of_distribution: float | None
    cpu_seconds: float
    truth_ml: float
    found_ml: float
    spacing_assumed: bool
    refused: str | None
    baseline_dice: tuple[tuple[Way, float], ...]

    @property
    def dice(self) -> float:
        """Dice of the method."""
        return self.mask.dice

    def to_json(self) -> dict[str, Any]:
        """Return one flat object."""
        content = asdict(self)
        content |= content.pop("mask")
        return content | {"baseline_dice": {way.value: dice for way, dice in self.baseline_dice}}


@dataclass(frozen=True, slots=True)
class Oracle:
    """What thresholds of the intensity could have reached on these very cases: upper bounds, not results.

    ``best_level`` is the one level behind ``threshold_best``; ``per_case_dice`` lets every case choose its own.
    """

    best_level: float
    per_case_dice: Estimate | None


@dataclass(frozen=True, slots=True)
class SegmentationReport:
    """Everything that ``oncue evaluate segmentation`` prints and writes. A baseline that was left out is None."""

    mode: str
    prompt: str
    weights: str
    overall: Figures
    case_auroc: float | None
    cpu_seconds_per_case: float
    baselines: dict[Way, Figures | None]
    oracle: Oracle
    per_case: tuple[CaseFigures, ...]
    notes: tuple[str, ...] = ()

    @property
    def patients(self) -> int:
        """Number of patients that the cases belong to."""
        return len({case.patient for case in self.per_case})

    def to_json(self) -> dict[str, Any]:
        """Return the report with exactly the keys that others script against."""
        return {
            "mode": self.mode,
            "prompt": self.prompt,
            "weights": self.weights,
            "cases": len(self.per_case),
            **_scripted(self.overall),
            "case_auroc": self.case_auroc,
            "cpu_seconds_per_case": self.cpu_seconds_per_case,
            "baselines": {way.value: figures and _scripted(figures) for way, figures in self.baselines.items()},
            "per_case": [case.to_json() for case in self.per_case],
        }

    def to_full_json(self) -> dict[str, Any]:
        """Return the scripted keys, and every other figure with its interval under ``figures``."""
        figures = {Way.METHOD: self.overall, **self.baselines}
        return self.to_json() | {
            "patients": self.patients,
            "resamples": RESAMPLES,
            "figures": {way.value: entry and asdict(entry) for way, entry in figures.items()},
            "oracle": asdict(self.oracle),
            "notes": list(self.notes),
        }


def _scripted(figures: Figures) -> dict[str, Any]:
    return {
        "dice": figures.dice and asdict(figures.dice),
        "nsd": figures.nsd and asdict(figures.nsd),
        "auprc": _mean(figures.auprc),
        "false_alarm_rate": _mean(figures.false_alarm_rate),
        "slice_auroc": _mean(figures.slice_auroc),
    }


def _mean(figure: Estimate | None) -> float | None:
    return None if figure is None else figure.mean
