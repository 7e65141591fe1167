"""Evaluate a segmenter on labelled cases, beside baselines that see the same cases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab import metrics
from lab.bootstrap import mean_interval
from lab.segmentation.case_store import CaseStore, ShownSlice
from lab.segmentation.levels import TOP, best_level, dice_curve
from lab.segmentation.measuring import Measured, measure_mask, measure_scores, summarise
from lab.segmentation.predictions import BASELINES, CasePredictions, EvaluationSetup, Way, predict
from lab.segmentation.report import CaseFigures, Oracle, SegmentationReport

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import CaseSource, LabelledCase
    from storage.volumes import Geometry

OnCase = Callable[[CaseFigures], None]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A case worth looking at: why, its figures, and the slice with the most tumour."""

    reason: str
    figures: CaseFigures
    shown: ShownSlice


@dataclass(frozen=True, slots=True, eq=False)
class SegmentationEvaluation:
    """The report, and the best, the median and the worst case by Dice."""

    report: SegmentationReport
    examples: tuple[Example, ...]


@dataclass(slots=True, eq=False)
class _Ledger:
    """What has been measured so far."""

    setup: EvaluationSetup
    store: CaseStore
    measured: dict[Way, list[Measured]] = field(default_factory=dict)
    curves: list[NDArray[np.float64]] = field(default_factory=list)
    geometries: list[Geometry] = field(default_factory=list)
    per_case: list[CaseFigures] = field(default_factory=list)

    @property
    def patients(self) -> list[str]:
        return [figures.patient for figures in self.per_case]


def evaluate_segmentation(
    sources: Sequence[CaseSource], setup: EvaluationSetup, *, on_case: OnCase = lambda _figures: None
) -> SegmentationEvaluation:
    """Segment every case and compare with the experts' masks; ``on_case`` gets the figures of each as they come.

    A volume that the segmenter refuses counts as one in which nothing was found. Raises UnreadableCase where a case is
    broken, ConfigurationError for an unusable prompt.
    """
    setup.segmenter.prompts.pair(setup.prompt)
    with tempfile.TemporaryDirectory(prefix="oncue-evaluation-") as folder:
        ledger = _Ledger(setup, CaseStore(Path(folder)))
        for source in sources:
            _enter(ledger, source.read())
            on_case(ledger.per_case[-1])
        return SegmentationEvaluation(_conclude(ledger), _examples(ledger))


def _enter(ledger: _Ledger, case: LabelledCase) -> None:
    """Predict one case in every way, measure the predictions, and keep what the report needs."""
    predictions = predict(case, ledger.setup)
    entries = {way: _measure(case, predictions, way) for way in predictions.by_way}
    for way, measured in entries.items():
        ledger.measured.setdefault(way, []).append(measured)
    number = len(ledger.per_case)
    ledger.store.put(number, case, predictions)
    intensities = ledger.store.intensities(number)
    ledger.curves.append(dice_curve(intensities.steps, intensities.truth))
    ledger.geometries.append(case.volume.geometry)
    ledger.per_case.append(_case_figures(case, predictions, entries))


def _measure(case: LabelledCase, predictions: CasePredictions, way: Way) -> Measured:
    given = predictions.by_way[way]
    mask = measure_mask(given.mask, case.mask, case.volume.geometry)
    return Measured(case.patient, mask, measure_scores(given.scores, case.mask))


def _case_figures(case: LabelledCase, predictions: CasePredictions, entries: dict[Way, Measured]) -> CaseFigures:
    own, voxel_ml = entries[Way.METHOD], case.volume.geometry.voxel_ml
    return CaseFigures(
        case=case.name,
        patient=case.patient,
        mask=own.mask,
        auprc=own.scores.auprc,
        slice_auroc=metrics.auroc(own.scores.slices, own.scores.marked),
        case_score=predictions.case_score,
        out_of_distribution=predictions.out_of_distribution,
        cpu_seconds=predictions.cpu_seconds,
        truth_ml=int(case.mask.sum()) * voxel_ml,
        found_ml=int(predictions.by_way[Way.METHOD].mask.sum()) * voxel_ml,
        spacing_assumed=not case.spacing_known,
        refused=predictions.refused,
        baseline_dice=tuple((way, entry.mask.dice) for way, entry in entries.items() if way is not Way.METHOD),
    )


def _conclude(ledger: _Ledger) -> SegmentationReport:
    level = best_level(ledger.curves, ledger.patients)
    at_best = ledger.measured[Way.THRESHOLD_BEST] = _at_level(ledger, level)
    per_case = [_with_best(case, entry) for case, entry in zip(ledger.per_case, at_best, strict=True)]
    oracle = mean_interval([float(curve.max()) for curve in ledger.curves], ledger.patients)
    return SegmentationReport(
        mode=ledger.setup.mode.value,
        prompt=ledger.setup.prompt,
        weights=ledger.setup.segmenter.weights_sha256,
        overall=summarise(ledger.measured[Way.METHOD]),
        case_auroc=metrics.auroc([case.case_score for case in per_case], [case.truth_ml > 0 for case in per_case]),
        cpu_seconds_per_case=float(np.mean([case.cpu_seconds for case in per_case])),
        baselines={way: summarise(ledger.measured[way]) if way in ledger.measured else None for way in BASELINES},
        oracle=Oracle(level / TOP, oracle),
        per_case=tuple(per_case),
        notes=_notes(ledger),
    )


def _at_level(ledger: _Ledger, level: int) -> list[Measured]:
    """Measure the intensity threshold that suits these very cases best: an upper bound."""
    measured = []
    for number, fixed in enumerate(ledger.measured[Way.THRESHOLD_FIXED]):
        kept = ledger.store.intensities(number)
        mask = measure_mask(kept.steps > level, kept.truth, ledger.geometries[number])
        measured.append(Measured(fixed.patient, mask, fixed.scores))
    return measured


def _with_best(case: CaseFigures, measured: Measured) -> CaseFigures:
    return replace(case, baseline_dice=(*case.baseline_dice, (Way.THRESHOLD_BEST, measured.mask.dice)))


def _notes(ledger: _Ledger) -> tuple[str, ...]:
    """Say what a reader of the figures must know."""
    assumed = sum(case.spacing_assumed for case in ledger.per_case)
    refused = sum(case.refused is not None for case in ledger.per_case)
    missing = sum(case.mask.hd95_mm is None for case in ledger.per_case)
    notes = []
    if assumed:
        notes.append(
            f"{assumed} cases do not record their spacing; 5 x 1 x 1 mm was taken, so mm and ml are rough there"
        )
    if refused:
        notes.append(f"{refused} cases were refused by the segmenter and count as empty masks")
    if missing:
        notes.append(
            f"HD95 does not exist for {missing} cases in which one mask alone is empty; its mean leaves them out"
        )
    if Way.SYNTHETIC_UNET not in ledger.measured:
        notes.append("the baseline synthetic_unet was left out: its weights are not installed")
    if len(set(ledger.patients)) == 1:
        notes.append("all cases belong to one patient: the intervals say nothing")
    return tuple(notes)


def _examples(ledger: _Ledger) -> tuple[Example, ...]:
    """Return the best, the median and the worst case by Dice of those with a tumour, or of all where none has one."""
    with_tumor = [number for number, case in enumerate(ledger.per_case) if case.truth_ml > 0]
    order = sorted(with_tumor or range(len(ledger.per_case)), key=lambda number: -ledger.per_case[number].dice)
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    examples, seen = [], set()
    for reason, number in chosen.items():
        if number not in seen:
            seen.add(number)
            examples.append(Example(reason, ledger.per_case[number], ledger.store.shown(number)))
    return tuple(examples)
