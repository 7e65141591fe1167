"""What each way to segment answers on one case: the method, and baselines that see the same maps.

The maps are computed once. Where the mode itself does not redraw, a second look adds the residuals that a baseline
needs, outside the time that is measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from workers.errors import UnsuitableVolume
from workers.segmentation.mask import smooth_across, to_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import Case
    from lab.segmentation.plain_network import ScoringNetwork
    from workers.segmentation.calibration import Mode
    from workers.segmentation.segmenter import ScoredVolume, ZeroShotSegmenter

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
class Answer:
    """Mask and scores ``[z, y, x]`` on the case's own grid; scores in 0..1, higher for tumour."""

    mask: NDArray[np.bool_]
    scores: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Every way's answer on one case. ``healthy`` is the pseudo-healthy stack (0..1) on the case's own grid.

    ``refused`` is the code of the refusal where the volume cannot be analysed: every way then answers with nothing.
    """

    by_way: dict[Way, Answer]
    healthy: FloatArray
    case_score: float
    out_of_distribution: float | None
    cpu_seconds: float
    refused: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """Who answers, to which question."""

    segmenter: ZeroShotSegmenter
    plain: ScoringNetwork | None
    mode: Mode
    prompt: str


def answer(case: Case, contest: Contest) -> Answers:
    """Ask every way but the best threshold, which no single case can know."""
    started = time.process_time()
    try:
        scored = contest.segmenter.score(case.volume, prompt=contest.prompt, mode=contest.mode)
    except UnsuitableVolume as error:
        return _nothing(case, contest, refused=error.code)
    result = contest.segmenter.conclude(scored)
    seconds = time.process_time() - started
    if not contest.segmenter.calibration.modes[contest.mode].fusion.uses_residual:
        scored = contest.segmenter.score(case.volume, prompt=contest.prompt, mode=contest.mode, residuals=True)
    return Answers(
        by_way={Way.METHOD: Answer(result.mask, result.score_map), **_baselines(scored, contest)},
        healthy=_on_grid(scored, (scored.maps.healthy + 1.0) / 2.0),
        case_score=result.case_score,
        out_of_distribution=result.out_of_distribution,
        cpu_seconds=seconds,
    )


def _nothing(case: Case, contest: Contest, *, refused: str) -> Answers:
    """Answer a volume that was refused: nothing was found, and its absence must not flatter the means."""
    empty = Answer(np.zeros(case.mask.shape, dtype=bool), np.zeros(case.mask.shape, dtype=np.float32))
    ways = [Way.METHOD, Way.THRESHOLD_FIXED, Way.ATTENTION, Way.RESIDUAL]
    ways += [Way.SYNTHETIC_UNET] if contest.plain else []
    return Answers(dict.fromkeys(ways, empty), empty.scores, 0.0, None, 0.0, refused)


def _baselines(scored: ScoredVolume, contest: Contest) -> dict[Way, Answer]:
    """Threshold intensity, attention and residual, each smoothed across slices as the method's own score is."""
    thresholds = contest.segmenter.calibration.baselines
    smoothing_mm = contest.segmenter.calibration.modes[scored.mode].rule.smoothing_mm
    stacks = {
        Way.THRESHOLD_FIXED: ((scored.stack.images + 1.0) / 2.0, thresholds.intensity),
        Way.ATTENTION: (scored.maps.attention, thresholds.attention),
        Way.RESIDUAL: (scored.maps.residual, thresholds.residual),
    }
    answers = {}
    for way, (stack, threshold) in stacks.items():
        scores = _on_grid(scored, smooth_across(stack, scored.stack.grid.spacing_mm[0], smoothing_mm))
        answers[way] = Answer(scores > threshold, scores)
    if contest.plain:
        answers[Way.SYNTHETIC_UNET] = _plain_answer(scored, contest.plain)
    return answers


def _plain_answer(scored: ScoredVolume, plain: ScoringNetwork) -> Answer:
    stack = plain.scores(scored.stack.images)
    smoothed = smooth_across(stack, scored.stack.grid.spacing_mm[0], plain.rule.smoothing_mm)
    scores = scored.stack.grid.to_volume(smoothed)
    mask = to_mask(scores, scored.stack.grid.orientation.spacing_mm, plain.rule)
    grid = scored.stack.grid
    return Answer(grid.to_stored(mask), grid.to_stored(scores))


def _on_grid(scored: ScoredVolume, stack: FloatArray) -> FloatArray:
    return scored.stack.grid.to_stored(scored.stack.grid.to_volume(stack))
