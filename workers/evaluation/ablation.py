"""What each part of the method adds: several scores from maps that are computed once per case.

``PARTS`` is the table of what is compared, from the attention map alone to everything together; add rows there. Every
row gets the one level that suits the tuning cases best, so that none is judged by a threshold made for another, and is
also reported free of any threshold (AUPRC, slice AUROC).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from workers.errors import UnsuitableVolume
from workers.evaluation.bootstrap import Interval, mean_interval
from workers.evaluation.levels import TOP, best_level, dice_curve, in_steps
from workers.evaluation.measuring import Figures, Measured, measure_mask, measure_scores, summarise
from workers.segmentation import refine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.evaluation.answers import Contest
    from workers.evaluation.cases import Case, CaseSource
    from workers.segmentation.maps import AnomalyMaps
    from workers.segmentation.refine import MaskRule
    from workers.segmentation.segmenter import Examination, ZeroShotSegmenter

    FloatArray = NDArray[np.float32]

OnCase = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Part:
    """One row: which maps make the score, and what is done to it.

    ``smoothed`` blurs it across slices, ``sifted`` drops components by the mode's rule, ``mirrored`` averages the maps
    with those of the mirror image.
    """

    name: str
    score: Callable[[AnomalyMaps], FloatArray]
    smoothed: bool = True
    sifted: bool = True
    mirrored: bool = False


def attention(maps: AnomalyMaps) -> FloatArray:
    """Take the attention map alone."""
    return maps.attention


def head(maps: AnomalyMaps) -> FloatArray:
    """Take the learned head on frozen features alone."""
    return maps.head


def with_attention(maps: AnomalyMaps) -> FloatArray:
    """Let the attention map speak for a fifth."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.attention, dtype=np.float32)


def with_pixel_residual(maps: AnomalyMaps) -> FloatArray:
    """Let the pixel residual against the pseudo-healthy image speak for a fifth."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.pixel_residual, dtype=np.float32)


def with_feature_residual(maps: AnomalyMaps) -> FloatArray:
    """Let the feature residual speak for a fifth."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.feature_residual, dtype=np.float32)


def with_both_residuals(maps: AnomalyMaps) -> FloatArray:
    """Let both residuals speak, a tenth each."""
    residuals = maps.pixel_residual + maps.feature_residual
    return np.asarray(0.8 * maps.head + 0.1 * residuals, dtype=np.float32)


def residual(maps: AnomalyMaps) -> FloatArray:
    """Take the residuals alone."""
    return maps.residual


PARTS = (
    Part("attention alone, slice by slice", attention, smoothed=False, sifted=False),
    Part("residual alone, slice by slice", residual, smoothed=False, sifted=False),
    Part("learned head, slice by slice", head, smoothed=False, sifted=False),
    Part("head + attention", with_attention, smoothed=False, sifted=False),
    Part("head + pixel residual of the inpainting", with_pixel_residual, smoothed=False, sifted=False),
    Part("head + feature residual of the inpainting", with_feature_residual, smoothed=False, sifted=False),
    Part("head + both residuals", with_both_residuals, smoothed=False, sifted=False),
    Part("head + smoothing across slices", head, sifted=False),
    Part("head + smoothing + component rule", head),
    Part("head + both residuals + smoothing + component rule", with_both_residuals),
    Part("head + smoothing + component rule + mirrored look", head, mirrored=True),
    Part("head + both residuals + smoothing + component rule + mirrored look", with_both_residuals, mirrored=True),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One part's figures at ``level``, and the Dice of the level that suits these very cases best (an upper bound)."""

    part: str
    level: float
    figures: Figures
    best_level: float
    best_dice: Interval | None


@dataclass(frozen=True, slots=True)
class AblationTable:
    """All rows; ``tuning_cases`` fixed the levels. Where there were none each level is the mode's own threshold."""

    mode: str
    prompt: str
    weights: str
    cases: int
    tuning_cases: int
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the table as one object."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """One part's score of one case: on the model's upright grid for components, with what turns it back."""

    examination: Examination
    stack: FloatArray

    def on_case_grid(self) -> FloatArray:
        return np.ascontiguousarray(self.examination.orientation.undo(self.stack))

    def mask(self, rule: MaskRule) -> NDArray[np.bool_]:
        found = refine.to_mask(self.stack, self.examination.orientation.spacing_mm, rule)
        return np.ascontiguousarray(self.examination.orientation.undo(found))


def ablate(
    sources: Sequence[CaseSource],
    contest: Contest,
    *,
    tuning: Sequence[CaseSource] = (),
    parts: Sequence[Part] = PARTS,
    on_case: OnCase = lambda _done, _total, _name: None,
) -> AblationTable:
    """Compare parts of the method on the same cases, at levels fixed on the ``tuning`` cases.

    A case that the segmenter refuses is left out of every row alike.
    """
    total = len(tuning) + len(sources)
    levels = _fix_levels(tuning, contest, parts, on_case=lambda done, name: on_case(done, total, name))
    measured: list[list[Measured]] = [[] for _ in parts]
    curves: list[list[NDArray[np.float64]]] = [[] for _ in parts]
    for done, source in enumerate(sources, start=1):
        case = source.read()
        for index, scored in enumerate(_scores(case, contest, parts)):
            measured[index].append(_measure(case, scored, _rule(contest, parts[index], levels[index])))
            curves[index].append(dice_curve(in_steps(scored.on_case_grid()), case.mask))
        on_case(len(tuning) + done, total, case.name)
    if not measured[0]:
        raise UnsuitableVolume("the segmenter refused every case: there is nothing to compare")
    rows = tuple(_row(*entry) for entry in zip(parts, levels, measured, curves, strict=True))
    mode, weights = contest.mode.value, contest.segmenter.weights_sha256
    return AblationTable(mode, contest.prompt, weights, len(measured[0]), len(tuning), rows)


def _fix_levels(
    tuning: Sequence[CaseSource], contest: Contest, parts: Sequence[Part], *, on_case: Callable[[int, str], None]
) -> list[float]:
    """Find for each part the level with the best mean Dice on the tuning cases, before components are sifted."""
    curves: list[list[NDArray[np.float64]]] = [[] for _ in parts]
    patients = []
    for done, source in enumerate(tuning, start=1):
        case = source.read()
        scored = _scores(case, contest, parts)
        patients += [case.patient] if scored else []
        for index, entry in enumerate(scored):
            curves[index].append(dice_curve(in_steps(entry.on_case_grid()), case.mask))
        on_case(done, case.name)
    if not patients:
        return [contest.segmenter.calibration.modes[contest.mode].rule.threshold for _ in parts]
    return [best_level(entries, patients) / TOP for entries in curves]


def _scores(case: Case, contest: Contest, parts: Sequence[Part]) -> list[_Scored]:
    """Score a case in every way; the maps are computed once, and once more mirrored where a part asks for that."""
    try:
        examinations = {
            mirrored: _looking(contest, mirrored=mirrored).examine(
                case.volume, prompt=contest.prompt, mode=contest.mode, residuals=True
            )
            for mirrored in {part.mirrored for part in parts}
        }
    except UnsuitableVolume:
        return []
    smoothing_mm = contest.segmenter.calibration.modes[contest.mode].rule.smoothing_mm
    return [_score(examinations[part.mirrored], part, smoothing_mm) for part in parts]


def _looking(contest: Contest, *, mirrored: bool) -> ZeroShotSegmenter:
    """Give the segmenter with the mirrored look switched on or off."""
    known = contest.segmenter.calibration
    modes = known.modes | {contest.mode: replace(known.modes[contest.mode], mirrored=mirrored)}
    return replace(contest.segmenter, calibration=replace(known, modes=modes))


def _score(examination: Examination, part: Part, smoothing_mm: float) -> _Scored:
    stack = part.score(examination.maps)
    if part.smoothed:
        stack = refine.smooth_across(stack, examination.spacing_mm[0], smoothing_mm)
    return _Scored(examination, np.clip(examination.on_grid(stack), 0.0, 1.0))


def _rule(contest: Contest, part: Part, level: float) -> MaskRule:
    """Give the mode's rule with the part's own level; for a weaker score the peak shrinks with the level."""
    rule = contest.segmenter.calibration.modes[contest.mode].rule
    if not part.sifted:
        return replace(rule, threshold=level, peak=0.0, minimum_ml=0.0, share=0.0)
    return replace(rule, threshold=level, peak=rule.peak * min(1.0, level / rule.threshold))


def _measure(case: Case, scored: _Scored, rule: MaskRule) -> Measured:
    mask = measure_mask(scored.mask(rule), case.mask, case.volume.geometry)
    return Measured(case.patient, mask, measure_scores(scored.on_case_grid(), case.mask))


def _row(part: Part, level: float, measured: Sequence[Measured], curves: Sequence[NDArray[np.float64]]) -> Row:
    patients = [entry.patient for entry in measured]
    best = best_level(curves, patients)
    best_dice = mean_interval([float(curve[best]) for curve in curves], patients)
    return Row(part.name, level, summarise(measured), best / TOP, best_dice)
