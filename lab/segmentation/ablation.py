"""What each part of the method adds: figures of several scores, all from maps that are computed once for each case.

``parts.PARTS`` is the table of what is compared. For every row first the level and then the peak of the component rule
are chosen that give the best Dice on the tuning cases, so that no row is judged by numbers made for another. AUPRC and
slice AUROC need no threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.bootstrap import Estimate, mean_interval
from lab.metrics import dice
from lab.segmentation.levels import TOP, best_level, dice_curve, in_steps
from lab.segmentation.measuring import Figures, Measured, measure_mask, measure_scores, summarise
from lab.segmentation.parts import PARTS, AblationPart
from workers.errors import UnsuitableVolume
from workers.segmentation.edges import image_greys
from workers.segmentation.mask import draw_mask, smooth_across, to_mask
from workers.segmentation.random_walk import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import CaseSource, LabelledCase
    from lab.segmentation.predictions import EvaluationSetup
    from storage.volumes import Vector
    from workers.segmentation.mask import MaskRule
    from workers.segmentation.segmenter import ScoredVolume, ZeroShotSegmenter

    FloatArray = NDArray[np.float32]

OnCase = Callable[[str], None]
"""Gets the name of each case that is done, those for tuning first."""
PEAKS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Peaks of the component rule that are tried, each as a share of the way from the level to 1."""


@dataclass(frozen=True, slots=True)
class AblationRow:
    """One part's figures at ``level`` and ``peak``.

    ``best_level`` has the best Dice on the evaluated cases themselves, without any component rule: ``best_dice`` is an
    upper bound of what a threshold alone could reach.
    """

    part: str
    level: float
    peak: float
    figures: Figures
    best_level: float
    best_dice: Estimate | None


@dataclass(frozen=True, slots=True)
class AblationTable:
    """All rows. With 0 ``tuning_cases`` every row has the mode's own level and peak."""

    mode: str
    prompt: str
    weights: str
    cases: int
    tuning_cases: int
    rows: tuple[AblationRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the table as one object."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """One part's score of one case: ``smoothed`` on the model's grid, ``stack`` on the volume's upright grid."""

    volume: ScoredVolume
    smoothed: FloatArray
    stack: FloatArray

    def on_case_grid(self) -> FloatArray:
        return self.volume.stack.grid.to_stored(self.stack)

    def spread(self) -> FloatArray:
        """Return the score spread along the grey, on the upright grid."""
        stack = self.volume.stack
        greys = image_greys(stack.images, stack.skull, self.smoothed)
        return stack.grid.to_volume(spread(self.smoothed, greys, stack.grid.spacing_mm))

    def mask(self, rule: MaskRule) -> NDArray[np.bool_]:
        found = draw_mask(rule, self.volume.stack, score=self.smoothed, on_volume=self.stack)
        return self.volume.stack.grid.to_stored(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Tuned:
    """What choosing a rule needs of one case: the Dice at every level, and its score in steps on the upright grid.

    ``spread`` is the spread score in steps, where the part has one.
    """

    patient: str
    curve: NDArray[np.float64]
    steps: NDArray[np.uint8]
    spread: NDArray[np.uint8] | None
    truth: NDArray[np.bool_]
    spacing_mm: Vector


def ablate(
    sources: Sequence[CaseSource],
    setup: EvaluationSetup,
    *,
    tuning: Sequence[CaseSource] = (),
    parts: Sequence[AblationPart] = PARTS,
    on_case: OnCase = lambda _name: None,
) -> AblationTable:
    """Compare parts of the method on the same cases, at levels fixed on the ``tuning`` cases.

    A case that the segmenter refuses is left out of every row alike.
    """
    rules = _fix_rules(tuning, setup, parts, on_case=on_case)
    measured: list[list[Measured]] = [[] for _ in parts]
    curves: list[list[NDArray[np.float64]]] = [[] for _ in parts]
    for source in sources:
        case = source.read()
        for index, scored in enumerate(_scores(case, setup, parts)):
            measured[index].append(_measure(case, scored, rules[index]))
            curves[index].append(dice_curve(in_steps(scored.on_case_grid()), case.mask))
        on_case(case.name)
    if not measured[0]:
        raise UnsuitableVolume("the segmenter refused every case: there is nothing to compare")
    rows = tuple(_row(*entry) for entry in zip(parts, rules, measured, curves, strict=True))
    mode, weights = setup.mode.value, setup.segmenter.weights_sha256
    return AblationTable(mode, setup.prompt, weights, len(measured[0]), len(tuning), rows)


def _fix_rules(
    tuning: Sequence[CaseSource], setup: EvaluationSetup, parts: Sequence[AblationPart], *, on_case: OnCase
) -> list[MaskRule]:
    """Find each part's rule on the tuning cases: first the level for all voxels, then the peak for its components."""
    tuned: list[list[_Tuned]] = [[] for _ in parts]
    for source in tuning:
        case = source.read()
        for index, scored in enumerate(_scores(case, setup, parts)):
            tuned[index].append(_tuned(case, scored, parts[index]))
        on_case(case.name)
    return [_best_rule(setup, part, entries) for part, entries in zip(parts, tuned, strict=True)]


def _tuned(case: LabelledCase, scored: _Scored, part: AblationPart) -> _Tuned:
    turn = scored.volume.stack.grid.orientation
    steps, truth = in_steps(scored.stack), np.ascontiguousarray(turn.apply(case.mask))
    kept = steps if part.sifted else np.zeros((0, 0, 0), np.uint8)
    spread = in_steps(scored.spread()) if part.spread else None
    return _Tuned(case.patient, dice_curve(steps, truth), kept, spread, truth, turn.spacing_mm)


def _best_rule(setup: EvaluationSetup, part: AblationPart, tuned: Sequence[_Tuned]) -> MaskRule:
    """Return the rule with the best mean Dice over the tuning patients; the mode's own without any."""
    own = setup.segmenter.calibration.modes[setup.mode].rule
    own = replace(own, reach_mm=own.reach_mm if part.edged else 0.0, spread=part.spread)
    if not part.sifted:
        own = replace(own, peak=0.0, minimum_ml=0.0, share=0.0)
    if not tuned:
        return own
    if not part.contoured:
        level = best_level([case.curve for case in tuned], [case.patient for case in tuned]) / TOP
        own = replace(own, threshold=level, slope=0.0)
    if not part.sifted:
        return own
    rules = [replace(own, peak=own.threshold + way * (1.0 - own.threshold)) for way in PEAKS]
    return max(rules, key=lambda rule: _mean_dice(tuned, rule))


def _mean_dice(tuned: Sequence[_Tuned], rule: MaskRule) -> float:
    masks = [_mask(case, rule) for case in tuned]
    figure = mean_interval(
        [dice(mask, case.truth) for mask, case in zip(masks, tuned, strict=True)], [case.patient for case in tuned]
    )
    return figure.mean if figure else 0.0


def _mask(case: _Tuned, rule: MaskRule) -> NDArray[np.bool_]:
    spread = None if case.spread is None else _in_levels(case.spread)
    return to_mask(_in_levels(case.steps), case.spacing_mm, rule, spread=spread)


def _in_levels(steps: NDArray[np.uint8]) -> FloatArray:
    return steps.astype(np.float32) / np.float32(TOP)


def _scores(case: LabelledCase, setup: EvaluationSetup, parts: Sequence[AblationPart]) -> list[_Scored]:
    """Score a case in every way; the maps are computed once, and once more mirrored where a part asks for that."""
    try:
        volumes = {
            mirrored: _looking(setup, mirrored=mirrored).score(
                case.volume, prompt=setup.prompt, mode=setup.mode, residuals=True
            )
            for mirrored in {part.mirrored for part in parts}
        }
    except UnsuitableVolume:
        return []
    smoothing_mm = setup.segmenter.calibration.modes[setup.mode].rule.smoothing_mm
    return [_score(volumes[part.mirrored], part, smoothing_mm) for part in parts]


def _looking(setup: EvaluationSetup, *, mirrored: bool) -> ZeroShotSegmenter:
    """Return the segmenter, averaging its maps with those of the mirror image, or not."""
    known = setup.segmenter.calibration
    modes = known.modes | {setup.mode: replace(known.modes[setup.mode], mirrored=mirrored)}
    return replace(setup.segmenter, calibration=replace(known, modes=modes))


def _score(volume: ScoredVolume, part: AblationPart, smoothing_mm: float) -> _Scored:
    stack = part.score(volume.maps)
    if part.smoothed:
        stack = smooth_across(stack, volume.stack.grid.spacing_mm[0], smoothing_mm)
    return _Scored(volume, stack, np.clip(volume.stack.grid.to_volume(stack), 0.0, 1.0))


def _measure(case: LabelledCase, scored: _Scored, rule: MaskRule) -> Measured:
    mask = measure_mask(scored.mask(rule), case.mask, case.volume.geometry)
    return Measured(case.patient, mask, measure_scores(scored.on_case_grid(), case.mask))


def _row(
    part: AblationPart, rule: MaskRule, measured: Sequence[Measured], curves: Sequence[NDArray[np.float64]]
) -> AblationRow:
    patients = [entry.patient for entry in measured]
    best = best_level(curves, patients)
    best_dice = mean_interval([float(curve[best]) for curve in curves], patients)
    return AblationRow(part.name, rule.threshold, rule.peak, summarise(measured), best / TOP, best_dice)
