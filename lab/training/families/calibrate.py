"""Fix on the tuning part what the mask rule leaves open: where components end, and what scores a case without tumour.

Uptake and texture go on along the body beyond a tumour, and so does the score. The share of its best slice below which
a slice is no part of a component is chosen by Dice less the price of all alarms, those of the tumour's own ends too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from lab import metrics
from lab.training.rules import Worth
from workers.segmentation.calibration import CaseScale
from workers.segmentation.ends import cut_ends
from workers.segmentation.mask import case_level, kept_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from lab.training.rules import Scored
    from storage.volumes import Vector
    from workers.segmentation.mask import MaskRule

END_SHARES = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
CASE_ML = 1.0
"""The score of a case is the mean of the highest scores that together fill this volume."""
FREE_SHARE = 0.9
"""Share of the tumour-free parts of stacks that must score below one half."""
HIGHEST_HALF = 0.95
SHORTEST_PART = 4
"""Slices of a part of a stack without tumour that is scored as a case of its own."""


class _Finished(Protocol):
    """A case with its score and truth ``[z, y, x]`` and the spacing (z, y, x) of their grid."""

    @property
    def score(self) -> NDArray[np.float32]: ...
    @property
    def truth(self) -> NDArray[np.bool_]: ...
    @property
    def spacing_mm(self) -> Vector: ...


def choose_end_share(cases: Sequence[Scored], rule: MaskRule) -> tuple[float, Worth]:
    """Return the share that is best on the cases, the smallest of equals, and what the masks are then worth."""
    smoothed = [case.smoothed(rule.smoothing_mm) for case in cases]
    worths = {share: worth_of(smoothed, rule, share) for share in END_SHARES}
    best = max(END_SHARES, key=lambda share: (worths[share].value, -share))
    return best, worths[best]


def worth_of(smoothed: Sequence[Scored], rule: MaskRule, end_share: float) -> Worth:
    """Return mean Dice, and the share of all slices far from any tumour that carry a mask, of smoothed cases."""
    dices, alarms, far = [], 0, 0
    for case in smoothed:
        mask = cut_ends(kept_components(case.score, case.spacing_mm, rule), case.score, end_share) > 0
        dices.append(metrics.dice(mask, case.truth))
        free = metrics.far_slices(case.truth)
        alarms += int(mask[free].any(axis=(1, 2)).sum())
        far += int(free.sum())
    return Worth(float(np.mean(dices)), alarms / max(1, far))


def case_scale(cases: Sequence[Scored], rule: MaskRule) -> CaseScale:
    """Return how a case is scored: half is what tumour-free parts of the cases' stacks rarely reach.

    Where there is no such part, as of single pictures, half is where the rule begins to mark.
    """
    return scale_of([case.smoothed(rule.smoothing_mm) for case in cases], otherwise=max(rule.peak, rule.threshold))


def scale_of(cases: Sequence[_Finished], *, otherwise: float) -> CaseScale:
    """Return the scale of cases whose scores are final; half is ``otherwise`` where no part is free of tumour.

    What was measured counts up to ``HIGHEST_HALF`` alone.
    """
    levels = []
    for case in cases:
        runs, count = ndimage.label(metrics.far_slices(case.truth))
        parts = (case.score[runs == run] for run in range(1, count + 1))
        levels += [case_level(part, case.spacing_mm, CASE_ML) for part in parts if len(part) >= SHORTEST_PART]
    half = min(HIGHEST_HALF, float(np.quantile(levels, FREE_SHARE))) if levels else otherwise
    return CaseScale(CASE_ML, round(half, 4))
