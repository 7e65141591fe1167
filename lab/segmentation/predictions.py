"""Masks and scores of one case by each way to segment: the method, and baselines that see the same maps.

The maps are computed once. Where the mode itself does not redraw, a second look adds the residuals that a baseline
needs, outside the time that is measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lab.segmentation.plain_unet import PlainNetwork
from workers.config import SEGMENTATION_FOLDER
from workers.devices import choose_device, choose_dtype
from workers.errors import UnsuitableVolume
from workers.segmentation.mask import smooth_across, to_mask
from workers.segmentation.segmenter import ZeroShotSegmenter, parse_mode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import LabelledCase
    from workers.config import WorkerSettings
    from workers.segmentation.calibration import Mode
    from workers.segmentation.mask import MaskRule
    from workers.segmentation.segmenter import ScoredVolume

    FloatArray = NDArray[np.float32]


class Way(StrEnum):
    """A way to segment: the method itself, and what it must be worth its cost against."""

    METHOD = "method"
    THRESHOLD_FIXED = "threshold_fixed"
    THRESHOLD_BEST = "threshold_best"
    ATTENTION = "attention"
    RESIDUAL = "residual"
    SYNTHETIC_UNET = "synthetic_unet"


BASELINES = tuple(way for way in Way if way is not Way.METHOD)


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Mask and scores ``[z, y, x]`` on the case's own grid; scores in 0..1, higher for tumour."""

    mask: NDArray[np.bool_]
    scores: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CasePredictions:
    """Every way's prediction for one case. ``healthy`` is the pseudo-healthy stack (0..1) on the case's own grid.

    ``refused`` is the code of the refusal where the volume cannot be analysed: every way then predicts nothing.
    """

    by_way: dict[Way, Prediction]
    healthy: FloatArray
    case_score: float
    out_of_distribution: float | None
    cpu_seconds: float
    refused: str | None = None


class ScoringNetwork(Protocol):
    """A network that scores framed slices without a prompt, with the rule that was fixed for its scores beforehand."""

    @property
    def rule(self) -> MaskRule:
        """When a score becomes a mask."""
        ...

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores in 0..1 of images ``[z, 128, 128]`` in -1..1."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationSetup:
    """What is evaluated, and how it is asked. ``plain`` is the baseline's network, None where it is not installed."""

    segmenter: ZeroShotSegmenter
    plain: ScoringNetwork | None
    mode: Mode
    prompt: str

    @classmethod
    def load(cls, worker: WorkerSettings, *, mode: str | None = None, prompt: str | None = None) -> EvaluationSetup:
        """Load the installed networks; ``mode`` and ``prompt`` are the worker's own where they are None.

        Raises ConfigurationError for an unknown mode, WeightsMismatch where weights are missing or changed.
        """
        chosen, device, models = parse_mode(mode or worker.mode), choose_device(worker.device), worker.models_folder()
        segmenter = ZeroShotSegmenter.load(
            models / SEGMENTATION_FOLDER, device=device, dtype=choose_dtype(device, worker.dtype)
        )
        return cls(segmenter, PlainNetwork.installed(models), chosen, worker.prompt if prompt is None else prompt)


def predict(case: LabelledCase, setup: EvaluationSetup) -> CasePredictions:
    """Predict by every way but the best threshold, which no single case can know."""
    started = time.process_time()
    try:
        scored = setup.segmenter.score(case.volume, prompt=setup.prompt, mode=setup.mode)
    except UnsuitableVolume as error:
        return _nothing(case, setup, refused=error.code)
    result = setup.segmenter.conclude(scored)
    seconds = time.process_time() - started
    if not setup.segmenter.calibration.modes[setup.mode].fusion.uses_residual:
        scored = setup.segmenter.score(case.volume, prompt=setup.prompt, mode=setup.mode, residuals=True)
    return CasePredictions(
        by_way={Way.METHOD: Prediction(result.mask, result.score_map), **_baselines(scored, setup)},
        healthy=_on_grid(scored, (scored.maps.healthy + 1.0) / 2.0),
        case_score=result.case_score,
        out_of_distribution=result.out_of_distribution,
        cpu_seconds=seconds,
    )


def _nothing(case: LabelledCase, setup: EvaluationSetup, *, refused: str) -> CasePredictions:
    """Predict nothing for a volume that was refused: leaving it out would flatter the means."""
    empty = Prediction(np.zeros(case.mask.shape, dtype=bool), np.zeros(case.mask.shape, dtype=np.float32))
    ways = [Way.METHOD, Way.THRESHOLD_FIXED, Way.ATTENTION, Way.RESIDUAL]
    ways += [Way.SYNTHETIC_UNET] if setup.plain else []
    return CasePredictions(dict.fromkeys(ways, empty), empty.scores, 0.0, None, 0.0, refused)


def _baselines(scored: ScoredVolume, setup: EvaluationSetup) -> dict[Way, Prediction]:
    """Threshold intensity, attention and residual, each smoothed across slices as the method's own score is."""
    thresholds = setup.segmenter.calibration.baselines
    smoothing_mm = setup.segmenter.calibration.modes[scored.mode].rule.smoothing_mm
    stacks = {
        Way.THRESHOLD_FIXED: ((scored.stack.images + 1.0) / 2.0, thresholds.intensity),
        Way.ATTENTION: (scored.maps.attention, thresholds.attention),
        Way.RESIDUAL: (scored.maps.residual, thresholds.residual),
    }
    predictions = {}
    for way, (stack, threshold) in stacks.items():
        scores = _on_grid(scored, smooth_across(stack, scored.stack.grid.spacing_mm[0], smoothing_mm))
        predictions[way] = Prediction(scores > threshold, scores)
    if setup.plain:
        predictions[Way.SYNTHETIC_UNET] = _plain_prediction(scored, setup.plain)
    return predictions


def _plain_prediction(scored: ScoredVolume, plain: ScoringNetwork) -> Prediction:
    grid, scores = scored.stack.grid, plain.scores(scored.stack.images)
    on_volume = grid.to_volume(smooth_across(scores, grid.spacing_mm[0], plain.rule.smoothing_mm))
    mask = to_mask(on_volume, grid.orientation.spacing_mm, plain.rule)
    return Prediction(grid.to_stored(mask), grid.to_stored(on_volume))


def _on_grid(scored: ScoredVolume, stack: FloatArray) -> FloatArray:
    return scored.stack.grid.to_stored(scored.stack.grid.to_volume(stack))
