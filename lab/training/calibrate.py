"""Choose thresholds, weights of maps and scales after training, on patients who are not kept for testing.

Experts' masks are compared with here, and nowhere else in training; test patients are never read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lab import metrics
from lab.cases import LabelledCase, as_volume, read_case
from lab.patients import Role
from lab.training import rules, slices
from lab.training.rules import Scored
from phantom.head import head_phantom
from storage.progress import unheard
from workers.errors import TrainingDataMissing
from workers.segmentation import framing, maps, mask, out_of_distribution
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
from workers.segmentation.mask import MaskRule
from workers.segmentation.segmenter import Examination, ZeroShotSegmenter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lab.segmentation.plain_unet import PlainNetwork
    from storage.progress import OnProgress

PROMPT = "tumor"
SUSPICION = 0.2
HEALTHY_PHANTOMS = 16
PHANTOM_SEED = 20_000
CASE_ML = 1.0
CASE_MARGIN = 0.04
"""How far the level that gives a case score of 0.5 lies above the highest that was reached without tumour."""
GAIN = 0.01
"""A mixture of maps must be this much better on the tuning patients than the residual head's map alone."""
PROVISIONAL_RULE = MaskRule(threshold=0.5, peak=0.7, minimum_ml=0.5, smoothing_mm=2.5, share=0.2)
STEPS = {Mode.FAST: 2, Mode.BALANCED: 8, Mode.PAPER: 50}

HEAD_ALONE = Fusion(1.0, 0.0, 0.0, 0.0, 0.0)
PAPER_FUSION = Fusion(0.7, 0.0, 0.0, 0.15, 0.15)
"""``paper`` always uses the residuals, as the paper does; the other modes only where that helps."""
FUSIONS = (
    HEAD_ALONE,
    Fusion(0.8, 0.2, 0.0, 0.0, 0.0),
    Fusion(0.8, 0.14, 0.06, 0.0, 0.0),
    Fusion(0.8, 0.0, 0.0, 0.2, 0.0),
    Fusion(0.8, 0.0, 0.0, 0.0, 0.2),
    PAPER_FUSION,
)


@dataclass(frozen=True, slots=True, eq=False)
class ExaminedCase:
    """A labelled case: its maps, and its true mask on the model's grid."""

    examination: Examination
    truth: NDArray[np.bool_]

    def scored(self, fusion: Fusion) -> Scored:
        """Return the case with its maps fused into one score."""
        maps = self.examination.maps
        return Scored(maps.fused(fusion), self.truth, self.examination.spacing_mm, maps.images)

    def smoothed(self, settings: ModeSettings) -> NDArray[np.float32]:
        """Return the maps fused and smoothed as in this mode, from which its rule makes the mask."""
        fused, spacing_z_mm = self.examination.maps.fused(settings.fusion), self.examination.spacing_mm[0]
        return mask.smooth_across(fused, spacing_z_mm, settings.rule.smoothing_mm)


class CalibrationProgress:
    """Counts the steps of a calibration, most of them cases examined and levels tried."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self._total, self._done, self._on_progress = total, 0, on_progress

    def one(self, _done: int = 0, _total: int = 0) -> None:
        """Count one step more; so a search, which counts its own levels, can report here."""
        self._done += 1
        self._on_progress(self._done, self._total)

    def after(self, examined: ExaminedCase) -> ExaminedCase:
        """Count one that has been examined."""
        self.one()
        return examined


def provisional() -> Calibration:
    """Return settings to examine cases with while nothing has been chosen yet."""
    modes = {mode: _mode(mode, HEAD_ALONE, PROVISIONAL_RULE) for mode in Mode}
    known = Familiarity((0.0,), ((1.0,),), 1.0)
    return Calibration(
        modes, Scales(SUSPICION, 1.0, 1.0), CaseScale(CASE_ML, 0.5), known, BaselineThresholds(0.5, 0.5, 0.5)
    )


def calibrate(segmenter: ZeroShotSegmenter, cases: Path, *, on_progress: OnProgress = unheard) -> Calibration:
    """Return the calibration for a segmenter that was built with ``provisional()``.

    The fusion of maps is chosen on the tuning patients. The mask rule is chosen on these, on the training patients (no
    training has used their masks as a target) and on healthy phantoms. ``fast`` and ``balanced`` share it, but
    ``balanced`` may ask for a higher peak, chosen with its own maps.
    """
    tuning = [read_case(path) for path in slices.patient_files(cases, Role.TUNE)]
    ruling, phantoms = ruling_files(cases), healthy_phantoms()
    examined = len(tuning) + len(ruling) + 2 * len(phantoms)
    steps = CalibrationProgress(examined + rules.SEARCHED_LEVELS * (len(FUSIONS) + 2), on_progress)
    scales = _residual_scales(segmenter, tuning)
    segmenter = replace(segmenter, calibration=replace(segmenter.calibration, scales=scales))
    known = _familiarity(segmenter, cases, tuning)
    tuned = [steps.after(examine(segmenter, case, Mode.BALANCED, residuals=True)) for case in tuning]
    fusion = choose_fusion(tuned, steps.one)
    seen = [_seen(segmenter, case, Mode.FAST, fusion, steps) for case in (*map(read_case, ruling), *phantoms)]
    rule, _ = rules.choose([case.scored(fusion) for case in seen], on_progress=steps.one)
    healthy = [_seen(segmenter, phantom, Mode.BALANCED, fusion, steps) for phantom in phantoms]
    balanced = rules.raised(rule, [case.scored(fusion) for case in (*tuned, *healthy)])
    modes = {
        Mode.FAST: _mode(Mode.FAST, fusion, rule),
        Mode.BALANCED: _mode(Mode.BALANCED, fusion, balanced),
    }
    paper_rule, _ = rules.choose([case.scored(PAPER_FUSION) for case in tuned], on_progress=steps.one)
    modes[Mode.PAPER] = _mode(Mode.PAPER, PAPER_FUSION, paper_rule)
    half = _healthy_level(modes[Mode.BALANCED], [*tuned, *healthy])
    return Calibration(modes, scales, CaseScale(CASE_ML, half), known, _baselines(tuned, modes[Mode.BALANCED].rule))


def _seen(
    segmenter: ZeroShotSegmenter, case: LabelledCase, mode: Mode, fusion: Fusion, steps: CalibrationProgress
) -> ExaminedCase:
    return steps.after(examine(segmenter, case, mode, residuals=fusion.uses_residual))


def ruling_files(cases: Path) -> list[Path]:
    """Return the files of the patients on whom a mask rule is chosen: all but the test patients."""
    return slices.patient_files(cases, Role.TUNE, Role.TRAIN)


def healthy_phantoms() -> list[LabelledCase]:
    """Return phantom heads without any lesion: unlike those of patients, all their slices are known to be healthy."""
    phantoms = [head_phantom(seed=PHANTOM_SEED + index, lesion=False) for index in range(HEALTHY_PHANTOMS)]
    return [
        LabelledCase(
            f"phantom {index}",
            as_volume(phantom.voxels, phantom.geometry.spacing_mm),
            np.zeros(phantom.voxels.shape, bool),
        )
        for index, phantom in enumerate(phantoms)
    ]


def examine(segmenter: ZeroShotSegmenter, case: LabelledCase, mode: Mode, *, residuals: bool) -> ExaminedCase:
    """Return the maps of a case, and its mask on the model's grid."""
    examination = segmenter.examine(case.volume, prompt=PROMPT, mode=mode, residuals=residuals)
    unit = replace(examination.framing, black=0.0, white=1.0)
    truth = framing.to_model(case.mask.astype(np.float32), unit, IMAGE_SIZE) > 0
    return ExaminedCase(examination, truth)


def _mode(mode: Mode, fusion: Fusion, rule: MaskRule) -> ModeSettings:
    guidance = 1.5 if mode is Mode.PAPER else 1.0
    return ModeSettings(STEPS[mode], guidance, mirrored=mode is not Mode.FAST, fusion=fusion, rule=rule)


def choose_fusion(tuned: list[ExaminedCase], on_progress: OnProgress = unheard) -> Fusion:
    """Return the best mixture where it clearly beats the residual head alone, each under its own best rule."""
    worth = {}
    for fusion in FUSIONS:
        scored = [case.scored(fusion) for case in tuned]
        worth[fusion] = rules.choose(scored, on_progress=on_progress)[1].value
    best = max(worth, key=lambda fusion: worth[fusion])
    return best if worth[best] > worth[HEAD_ALONE] + GAIN else HEAD_ALONE


def plain_rule(network: PlainNetwork, cases: Path) -> MaskRule:
    """Return the mask rule of the baseline's network, chosen on the same patients: one level for all components."""
    scored = []
    for path in ruling_files(cases):
        case = read_case(path)
        found = framing.find(case.volume.voxels, (1.0, 1.0))
        if found is None:
            continue
        unit = replace(found, black=0.0, white=1.0)
        truth = framing.to_model(case.mask.astype(np.float32), unit, IMAGE_SIZE) > 0
        pixel_mm = found.height / IMAGE_SIZE
        spacing = (case.volume.geometry.spacing_mm[0], pixel_mm, pixel_mm)
        scored.append(Scored(network.scores(framing.to_model(case.volume.voxels, found, IMAGE_SIZE)), truth, spacing))
    return rules.choose(scored, levels=rules.SINGLE_LEVELS)[0]


def _residual_scales(segmenter: ZeroShotSegmenter, tuning: list[LabelledCase]) -> Scales:
    """Return the units of the residuals: the 99th percentile of what redrawing a disc without tumour changes."""
    settings = segmenter.calibration.modes[Mode.BALANCED]
    pixel, feature = [], []
    rows, columns = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    for case in tuning:
        found = framing.find(case.volume.voxels, (1.0, 1.0))
        free = np.flatnonzero(slices.tumor_free(case.mask))
        count = min(maps.BATCH, len(free))
        if found is None or count == 0:
            continue
        images = framing.to_model(case.volume.voxels, found, IMAGE_SIZE)[free]
        chosen = np.linspace(len(free) * 0.3, len(free) - 1, count).astype(np.intp)
        drawn = maps.blank(images)
        centres = np.linspace(44, 84, count)[:, None, None]
        region = np.hypot(rows - 64, columns - centres) < 16  # noqa: PLR2004 - a disc about 6 cm wide
        pair = segmenter.prompt_pair(PROMPT)
        maps.redraw(segmenter.models, drawn, chosen, region, prompt=pair, settings=settings)
        pixel.append(drawn.pixel_residual[chosen][region])
        feature.append(drawn.feature_residual[chosen][region])
    if not pixel:
        raise TrainingDataMissing("no tuning patient has a slice that is free of tumour: residuals have no scale")
    return Scales(SUSPICION, *(round(float(np.quantile(np.concatenate(part), 0.99)), 4) for part in (pixel, feature)))


def _familiarity(segmenter: ZeroShotSegmenter, cases: Path, tuning: list[LabelledCase]) -> Familiarity:
    training = [read_case(path) for path in slices.patient_files(cases, Role.TRAIN)]
    described = [_describe(segmenter, case) for case in training]
    centre, precision = out_of_distribution.fit(np.stack(described))
    known = Familiarity(tuple(centre.tolist()), tuple(tuple(row) for row in precision.tolist()), 1.0)
    reach = max(out_of_distribution.mahalanobis(_describe(segmenter, case), known) for case in tuning)
    return replace(known, reach=reach)


def _describe(segmenter: ZeroShotSegmenter, case: LabelledCase) -> NDArray[np.float32]:
    found = framing.find(case.volume.voxels, (1.0, 1.0))
    if found is None:
        raise TrainingDataMissing(f"{case.name} shows no signal")
    return out_of_distribution.describe(
        segmenter.models.backbone, framing.to_model(case.volume.voxels, found, IMAGE_SIZE)
    )


def _healthy_level(settings: ModeSettings, cases: Sequence[ExaminedCase]) -> float:
    """Return a case level that nothing without tumour reaches: no phantom, and no slices far from any tumour."""
    levels = []
    for case in cases:
        score = case.smoothed(settings)[metrics.far_slices(case.truth)]
        levels.append(mask.case_level(score, case.examination.spacing_mm, CASE_ML))
    return round(float(np.clip(max(levels) + CASE_MARGIN, 0.05, 0.95)), 4)


def _baselines(tuned: list[ExaminedCase], rule: MaskRule) -> BaselineThresholds:
    """Return the baselines' thresholds, each with the best mean Dice on the tuning cases."""
    sources = {
        "intensity": [(case.examination.maps.images + 1.0) / 2.0 for case in tuned],
        "attention": [case.examination.maps.attention for case in tuned],
        "residual": [case.examination.maps.residual for case in tuned],
    }
    chosen = {name: _best_threshold(tuned, stacks, rule.smoothing_mm) for name, stacks in sources.items()}
    return BaselineThresholds(**chosen)


def _best_threshold(tuned: list[ExaminedCase], stacks: list[NDArray[np.float32]], smoothing_mm: float) -> float:
    smoothed = [
        mask.smooth_across(stack, case.examination.spacing_mm[0], smoothing_mm)
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
