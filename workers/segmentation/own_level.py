"""A patient's score and mask in relation to the patient's own peak, so that no level must hold for everybody.

How certain a network is differs from patient to patient more than where it is most certain. So the score is spread
along the grey by walkers that go far (``random_walk``), brought back to the peak that it had, and the mask is drawn at
a share of that peak. Arrays are ``[z, y, x]`` on the framed grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from workers.segmentation import random_walk
from workers.segmentation.mask import MaskRule, case_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector
    from workers.segmentation.random_walk import Walk

    FloatArray = NDArray[np.float32]

PEAK_ML = 1.0
"""A patient's peak is the mean of the highest scores that together fill this volume."""


@dataclass(frozen=True, slots=True)
class OwnLevel:
    """How the score is spread, and the ``share`` (0..1) of the patient's peak at which the mask is drawn.

    Of the components those stay whose highest score exceeds ``top_share`` of the highest of all: where much is a little
    suspicious, as anatomy is that takes up contrast, what is most suspicious is the tumour. Nothing is marked of a
    patient whose peak is lower than ``least_peak``.
    """

    walk: Walk
    share: float
    top_share: float = 0.0
    least_peak: float = 0.0

    def spread(self, score: FloatArray, images: FloatArray, spacing_mm: Vector) -> FloatArray:
        """Return a score (0..1, smoothed across slices) spread along the grey of ``images`` (-1..1), with its peak."""
        found = random_walk.spread_far(score, (images + 1.0) / 2.0, spacing_mm, self.walk)
        top = case_level(found, spacing_mm, PEAK_ML)
        if top <= 0:
            return score
        peak = case_level(score, spacing_mm, PEAK_ML)
        return np.asarray(np.clip(found * np.float32(peak / top), 0.0, 1.0), dtype=np.float32)

    def rule(self, rule: MaskRule, spread: FloatArray, spacing_mm: Vector, *, top: float | None = None) -> MaskRule:
        """Return the rule with the levels for this patient, whose spread score is given.

        ``top`` is the highest score on the grid that the rule is for, where that is another one.
        """
        highest = float(spread.max(initial=0.0)) if top is None else top
        own = case_level(spread, spacing_mm, PEAK_ML)
        peak = max(rule.peak, self.top_share * highest) if own >= self.least_peak else math.inf
        return replace(rule, threshold=self.share * own, peak=peak)
