"""Fix thresholds, weights and scales on the tuning patients, once, after training.

Masks of the tuning patients are read here and nowhere else in training; the test patients are never read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from workers.errors import TrainingDataMissing
from workers.evaluation import metrics
from workers.evaluation.cases import Case, as_volume, read_case
from workers.phantom.head import head_phantom
from workers.segmentation import familiarity, framing, maps, refine
from workers.segmentation.backbone import IMAGE_SIZE
from workers.segmentation.calibration import (
    BaselineThresholds,
    Calibration,
    CaseScale,
    Familiarity,
    Fusion,
    Mode,
    ModeSettings,
    Scales,
)
from workers.segmentation.refine import MaskRule
from workers.segmentation.segmenter import Examination, ZeroShotSegmenter
from workers.training import slices
from workers.training.patients import Role

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PROMPT = "tumor"
SUSPICION = 0.2
HEALTHY_PHANTOMS = 3
PHANTOM_SEED = 20_000
ALARM_LIMIT = 0.03
"""Share of tumour-free tuning slices that may alarm before the choice of a threshold pays for it."""
ALARM_PRICE = 1.0
CASE_ML = 1.0
PROVISIONAL_RULE = MaskRule(threshold=0.5, peak=0.0, minimum_ml=0.5, smoothing_mm=4.5, share=0.4)
STEPS = {Mode.FAST: 2, Mode.BALANCED: 8, Mode.PAPER: 50}

PAPER_FUSION = Fusion(0.7, 0.0, 0.15, 0.15)
"""``paper`` always lets the residuals speak, as the paper does; the other modes only where that helps."""
PAPER_PEAK = 0.9
"""Peak that a component needs in ``paper``: above what healthy phantoms reach."""
FUSIONS = (
    Fusion(1.0, 0.0, 0.0, 0.0),
    Fusion(0.8, 0.2, 0.0, 0.0),
    Fusion(0.8, 0.0, 0.2, 0.0),
    Fusion(0.8, 0.0, 0.0, 0.2),
    PAPER_FUSION,
)
SMOOTHINGS_MM = (3.0, 4.5, 6.0)
THRESHOLDS = tuple(np.arange(0.3, 0.71, 0.1).round(2).tolist())
PEAKS = (0.0, 0.8, 0.9, 0.95)
VOLUMES_ML = (0.3, 1.0, 2.0)
SHARES = (0.1, 0.25, 0.4, 0.55)


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """A tuning case examined: its maps, and its mask on the model's grid."""

    examination: Examination
    truth: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting tried on the tuning cases."""

    value: float
    dice: float
    alarms: float


def provisional() -> Calibration:
    """Give settings to examine with before anything is fixed."""
    modes = {mode: _mode(mode, FUSIONS[0], PROVISIONAL_RULE) for mode in Mode}
    known = Familiarity((0.0,), ((1.0,),), 1.0)
    return Calibration(
        modes, Scales(SUSPICION, 1.0, 1.0), CaseScale(CASE_ML, 0.5), known, BaselineThresholds(0.5, 0.5, 0.5)
    )


def calibrate(segmenter: ZeroShotSegmenter, cases: Path) -> Calibration:
    """Fix everything for a segmenter that was built with ``provisional()``."""
    tuning = [read_case(path) for path in slices.patient_files(cases, Role.TUNE)]
    scales = _residual_scales(segmenter, tuning)
    segmenter = replace(segmenter, calibration=replace(segmenter.calibration, scales=scales))
    known = _familiarity(segmenter, cases, tuning)
    tuned = [examine(segmenter, case, Mode.BALANCED) for case in tuning]
    fusion, rule = choose(tuned)
    _, _, paper_rule = max((_try_fusion(tuned, PAPER_FUSION, smoothing) for smoothing in SMOOTHINGS_MM), key=_worth)
    modes = {mode: _mode(mode, fusion, rule) for mode in (Mode.FAST, Mode.BALANCED)}
    modes[Mode.PAPER] = _mode(Mode.PAPER, PAPER_FUSION, replace(paper_rule, peak=PAPER_PEAK))
    half = _healthy_level(replace(segmenter, calibration=replace(segmenter.calibration, modes=modes)), tuned)
    return Calibration(modes, scales, CaseScale(CASE_ML, half), known, _baselines(tuned, rule))


def examine(segmenter: ZeroShotSegmenter, case: Case, mode: Mode) -> Tuned:
    """Compute all maps of a case, and bring its mask onto the model's grid."""
    examination = segmenter.examine(case.volume, prompt=PROMPT, mode=mode, residuals=True)
    unit = replace(examination.framing, black=0.0, white=1.0)
    truth = framing.to_model(case.mask.astype(np.float32), unit, IMAGE_SIZE) > 0
    return Tuned(examination, truth)


def _mode(mode: Mode, fusion: Fusion, rule: MaskRule) -> ModeSettings:
    guidance = 1.5 if mode is Mode.PAPER else 1.0
    return ModeSettings(STEPS[mode], guidance, mirrored=mode is not Mode.FAST, fusion=fusion, rule=rule)


def choose(tuned: list[Tuned]) -> tuple[Fusion, MaskRule]:
    """Choose fusion, smoothing and threshold first, then which components stay."""
    attempts = [_try_fusion(tuned, fusion, smoothing) for fusion, smoothing in product(FUSIONS, SMOOTHINGS_MM)]
    _, fusion, best = max(attempts, key=_worth)
    scores = [_score(case, fusion, best.smoothing_mm) for case in tuned]
    rules = [
        replace(best, threshold=round(level, 2), peak=peak, minimum_ml=volume, share=share)
        for level, peak, volume, share in product((best.threshold - 0.1, best.threshold), PEAKS, VOLUMES_ML, SHARES)
    ]
    return fusion, max(rules, key=lambda rule: judge(tuned, scores, rule).value)


def _worth(attempt: tuple[float, Fusion, MaskRule]) -> float:
    return attempt[0]


def _try_fusion(tuned: list[Tuned], fusion: Fusion, smoothing_mm: float) -> tuple[float, Fusion, MaskRule]:
    """Give the worth of a fused score under its best threshold, with that threshold."""
    scores = [_score(case, fusion, smoothing_mm) for case in tuned]
    rules = [replace(PROVISIONAL_RULE, threshold=level, smoothing_mm=smoothing_mm) for level in THRESHOLDS]
    worth = {rule: judge(tuned, scores, rule).value for rule in rules}
    best = max(worth, key=lambda rule: worth[rule])
    return worth[best], fusion, best


def _score(case: Tuned, fusion: Fusion, smoothing_mm: float) -> NDArray[np.float32]:
    return refine.smooth_across(case.examination.maps.fused(fusion), case.examination.spacing_mm[0], smoothing_mm)


def judge(tuned: list[Tuned], scores: list[NDArray[np.float32]], rule: MaskRule) -> Choice:
    """Give mean Dice and the share of false alarms of a rule; its value is Dice less the price of alarms."""
    dices, alarms, slices_seen = [], 0, 0
    for case, score in zip(tuned, scores, strict=True):
        mask = refine.to_mask(score, case.examination.spacing_mm, rule)
        dices.append(metrics.dice(mask, case.truth))
        wrong, far = metrics.false_alarms(mask, case.truth)
        alarms, slices_seen = alarms + wrong, slices_seen + far
    rate = alarms / max(1, slices_seen)
    return Choice(float(np.mean(dices)) - ALARM_PRICE * max(0.0, rate - ALARM_LIMIT), float(np.mean(dices)), rate)


def _residual_scales(segmenter: ZeroShotSegmenter, tuning: list[Case]) -> Scales:
    """Redraw discs of tumour-free slices: the 99th percentile of what changes there is the unit of a residual."""
    settings = segmenter.calibration.modes[Mode.BALANCED]
    pixel, feature = [], []
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    for case in tuning:
        found = framing.find(case.volume.voxels, (1.0, 1.0))
        free = np.flatnonzero(slices.tumor_free(case.mask))
        if found is None or len(free) < maps.BATCH:
            continue
        images = framing.to_model(case.volume.voxels, found, IMAGE_SIZE)[free]
        chosen = np.linspace(len(free) * 0.3, len(free) - 1, maps.BATCH).astype(np.intp)
        drawn = maps.blank(images)
        centres = np.linspace(44, 84, maps.BATCH)[:, None, None]
        region = np.hypot(rows - 64, columns - centres) < 16  # noqa: PLR2004 - a disc about 6 cm wide
        pair = segmenter.prompt_pair(PROMPT)
        maps.redraw(segmenter.models, drawn, chosen, region, prompt=pair, settings=settings)
        pixel.append(drawn.pixel_residual[chosen][region])
        feature.append(drawn.feature_residual[chosen][region])
    return Scales(SUSPICION, *(round(float(np.quantile(np.concatenate(part), 0.99)), 4) for part in (pixel, feature)))


def _familiarity(segmenter: ZeroShotSegmenter, cases: Path, tuning: list[Case]) -> Familiarity:
    training = [read_case(path) for path in slices.patient_files(cases, Role.TRAIN)]
    described = [_describe(segmenter, case) for case in training]
    centre, precision = familiarity.fit(np.stack(described))
    known = Familiarity(tuple(centre.tolist()), tuple(tuple(row) for row in precision.tolist()), 1.0)
    reach = max(familiarity.mahalanobis(_describe(segmenter, case), known) for case in tuning)
    return replace(known, reach=reach)


def _describe(segmenter: ZeroShotSegmenter, case: Case) -> NDArray[np.float32]:
    found = framing.find(case.volume.voxels, (1.0, 1.0))
    if found is None:
        raise TrainingDataMissing(f"{case.name} shows no signal")
    return familiarity.describe(segmenter.models.backbone, framing.to_model(case.volume.voxels, found, IMAGE_SIZE))


def _healthy_level(segmenter: ZeroShotSegmenter, tuned: list[Tuned]) -> float:
    """Find the case level that no stack without tumour exceeds: tumour-free ends of tuning stacks, and phantoms."""
    settings = segmenter.calibration.modes[Mode.BALANCED]
    levels = []
    for case in tuned:
        score = _score(case, settings.fusion, settings.rule.smoothing_mm)[metrics.far_slices(case.truth)]
        levels.append(refine.case_level(score, case.examination.spacing_mm, CASE_ML))
    for index in range(HEALTHY_PHANTOMS):
        phantom = head_phantom(seed=PHANTOM_SEED + index, lesion=False)
        volume = as_volume(phantom.voxels, phantom.geometry.spacing_mm)
        examination = segmenter.examine(volume, prompt=PROMPT, mode=Mode.BALANCED)
        levels.append(refine.case_level(segmenter.scores(examination), examination.spacing_mm, CASE_ML))
    return float(np.clip(np.quantile(levels, 0.95), 0.05, 0.95))


def _baselines(tuned: list[Tuned], rule: MaskRule) -> BaselineThresholds:
    """Choose the baselines' thresholds as the method's own: best mean Dice on the tuning cases."""
    sources = {
        "intensity": [(case.examination.maps.images + 1.0) / 2.0 for case in tuned],
        "attention": [case.examination.maps.attention for case in tuned],
        "residual": [case.examination.maps.residual for case in tuned],
    }
    chosen = {name: _best_threshold(tuned, stacks, rule.smoothing_mm) for name, stacks in sources.items()}
    return BaselineThresholds(**chosen)


def _best_threshold(tuned: list[Tuned], stacks: list[NDArray[np.float32]], smoothing_mm: float) -> float:
    smoothed = [
        refine.smooth_across(stack, case.examination.spacing_mm[0], smoothing_mm)
        for stack, case in zip(stacks, tuned, strict=True)
    ]
    levels = np.unique(
        np.quantile(np.concatenate([stack.ravel()[::7] for stack in smoothed]), np.linspace(0.5, 0.999, 40))
    )
    dices = [
        np.mean([metrics.dice(stack > level, case.truth) for stack, case in zip(smoothed, tuned, strict=True)])
        for level in levels
    ]
    return float(levels[int(np.argmax(dices))])
