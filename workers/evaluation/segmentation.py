"""Evaluate a segmenter on a folder of cases, beside baselines that see the same cases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.evaluation import metrics
from workers.evaluation.cases import Case, list_cases, read_case
from workers.evaluation.bootstrap import Interval, bootstrap
from workers.segmentation import refine
from workers.segmentation.segmenter import Examination, ZeroShotSegmenter, parse_mode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

OnCase = Callable[[int, int, "CaseFigures"], None]
INTENSITY_LEVELS = tuple(float(level) for level in np.linspace(0.2, 0.95, 31))


@dataclass(frozen=True, slots=True)
class CaseFigures:
    """What one case gave. ``alarms`` of ``far_slices`` slices far from any tumour carry a mask."""

    case: str
    dice: float
    alarms: int
    far_slices: int
    case_score: float
    out_of_distribution: float
    cpu_seconds: float
    truth_ml: float
    found_ml: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Overall figures of one way to segment."""

    dice: Interval
    false_alarm_rate: float | None
    slice_auroc: float | None


@dataclass(frozen=True, slots=True)
class SegmentationReport:
    """Everything ``oncue evaluate segmentation`` prints and writes."""

    mode: str
    prompt: str
    weights: str
    overall: Figures
    case_auroc: float | None
    cpu_seconds_per_case: float
    baselines: dict[str, Figures]
    per_case: tuple[CaseFigures, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the report with the keys that others script against."""
        return {
            "mode": self.mode,
            "prompt": self.prompt,
            "weights": self.weights,
            "cases": len(self.per_case),
            **asdict(self.overall),
            "case_auroc": self.case_auroc,
            "cpu_seconds_per_case": self.cpu_seconds_per_case,
            "baselines": {name: asdict(figures) for name, figures in self.baselines.items()},
            "per_case": [asdict(case) for case in self.per_case],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One way's answer on one case: mask and score on the same grid as ``truth``."""

    mask: NDArray[np.bool_]
    scores: FloatArray
    truth: NDArray[np.bool_]


def ignore(_done: int, _total: int, _figures: CaseFigures) -> None:
    """Report nothing."""


def evaluate_segmentation(
    cases: Path | list[Path],
    segmenter: ZeroShotSegmenter,
    *,
    mode: str = "balanced",
    prompt: str = "tumor",
    on_progress: OnCase = ignore,
) -> SegmentationReport:
    """Segment every case of a folder (or of a list of files) and compare with the experts' masks.

    Raises TrainingDataMissing where there is no case or one cannot be read.
    """
    paths = cases if isinstance(cases, list) else list_cases(cases)
    per_case: list[CaseFigures] = []
    outcomes: dict[str, list[Outcome]] = {}
    for path in paths:
        case = read_case(path)
        figures, answers = _examine(case, segmenter, mode=mode, prompt=prompt)
        per_case.append(figures)
        for name, outcome in answers.items():
            outcomes.setdefault(name, []).append(outcome)
        on_progress(len(per_case), len(paths), figures)
    overall = {name: _overall(answers) for name, answers in outcomes.items()}
    overall["threshold_best"] = _best_threshold(outcomes["threshold_fixed"], overall["threshold_fixed"])
    return SegmentationReport(
        mode=mode,
        prompt=prompt,
        weights=segmenter.weights_sha256,
        overall=overall.pop(METHOD),
        case_auroc=metrics.auroc([case.case_score for case in per_case], [case.truth_ml > 0 for case in per_case]),
        cpu_seconds_per_case=float(np.mean([case.cpu_seconds for case in per_case])),
        baselines=overall,
        per_case=tuple(per_case),
    )


METHOD = "method"


def _examine(
    case: Case, segmenter: ZeroShotSegmenter, *, mode: str, prompt: str
) -> tuple[CaseFigures, dict[str, Outcome]]:
    chosen = parse_mode(mode)
    started = time.process_time()
    examination = segmenter.examine(case.volume, prompt=prompt, mode=chosen)
    result = segmenter.conclude(examination)
    seconds = time.process_time() - started
    if not segmenter.calibration.modes[chosen].fusion.uses_residual:
        examination = segmenter.examine(case.volume, prompt=prompt, mode=chosen, residuals=True)
    alarms, far = metrics.false_alarms(result.mask, case.mask)
    voxel_ml = case.volume.geometry.voxel_ml
    figures = CaseFigures(
        case=case.name,
        dice=metrics.dice(result.mask, case.mask),
        alarms=alarms,
        far_slices=far,
        case_score=result.case_score,
        out_of_distribution=result.out_of_distribution,
        cpu_seconds=seconds,
        truth_ml=float(case.mask.sum()) * voxel_ml,
        found_ml=float(result.mask.sum()) * voxel_ml,
    )
    return figures, {
        METHOD: Outcome(result.mask, result.score_map, case.mask),
        **_baselines(case, segmenter, examination),
    }


def _baselines(case: Case, segmenter: ZeroShotSegmenter, examination: Examination) -> dict[str, Outcome]:
    """Threshold intensity, attention and residual, each smoothed across slices as the method's own score is."""
    thresholds, rule = segmenter.calibration.baselines, segmenter.calibration.modes[examination.mode].rule
    stacks = {
        "threshold_fixed": ((examination.maps.images + 1.0) / 2.0, thresholds.intensity),
        "attention": (examination.maps.attention, thresholds.attention),
        "residual": (examination.maps.residual, thresholds.residual),
    }
    outcomes = {}
    for name, (stack, threshold) in stacks.items():
        smoothed = refine.smooth_across(stack, examination.spacing_mm[0], rule.smoothing_mm)
        scores = np.ascontiguousarray(examination.orientation.undo(examination.on_grid(smoothed)))
        outcomes[name] = Outcome(scores > threshold, scores, case.mask)
    return outcomes


def _overall(outcomes: list[Outcome]) -> Figures:
    counts = [metrics.false_alarms(outcome.mask, outcome.truth) for outcome in outcomes]
    far = sum(count for _, count in counts)
    scores = np.concatenate([metrics.slice_scores(outcome.scores) for outcome in outcomes])
    labels = np.concatenate([outcome.truth.any(axis=(1, 2)) for outcome in outcomes])
    return Figures(
        dice=bootstrap([metrics.dice(outcome.mask, outcome.truth) for outcome in outcomes]),
        false_alarm_rate=sum(wrong for wrong, _ in counts) / far if far else None,
        slice_auroc=metrics.auroc(scores, labels),
    )


def _best_threshold(outcomes: list[Outcome], fixed: Figures) -> Figures:
    """Give the figures of the one intensity threshold that suits these very cases best: an upper bound."""
    attempts = [
        _overall([Outcome(outcome.scores > level, outcome.scores, outcome.truth) for outcome in outcomes])
        for level in INTENSITY_LEVELS
    ]
    return max([fixed, *attempts], key=lambda figures: figures.dice.mean)
