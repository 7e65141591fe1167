"""One answer measured on one case, and many such measures together. ``docs/evaluation.md`` defines every figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lab import metrics
from lab.bootstrap import Estimate, auroc_interval, mean_interval, share_interval
from lab.segmentation.surface import surface_figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from storage.volumes import Geometry


@dataclass(frozen=True, slots=True)
class MaskFigures:
    """What a mask is worth against the truth. ``alarms`` of ``far_slices`` slices far from any tumour carry a mask.

    ``hd95_mm`` is None where one of the masks alone is empty.
    """

    dice: float
    nsd: float
    hd95_mm: float | None
    false_positive_ml: float
    false_negative_ml: float
    lesions: int
    lesions_found: int
    false_lesions: int
    alarms: int
    far_slices: int


@dataclass(frozen=True, slots=True, eq=False)
class ScoreFigures:
    """What scores are worth without any threshold; ``slices`` and ``marked`` hold one value for each slice."""

    auprc: float | None
    slices: NDArray[np.float32]
    marked: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One way's answer on one case of ``patient``."""

    patient: str
    mask: MaskFigures
    scores: ScoreFigures


@dataclass(frozen=True, slots=True)
class Figures:
    """One way's figures over patients; None where no case allows the figure."""

    dice: Estimate | None
    nsd: Estimate | None
    hd95_mm: Estimate | None
    auprc: Estimate | None
    false_positive_ml: Estimate | None
    lesion_sensitivity: Estimate | None
    false_alarm_rate: Estimate | None
    slice_auroc: Estimate | None


def measure_mask(found: NDArray[np.bool_], truth: NDArray[np.bool_], geometry: Geometry) -> MaskFigures:
    """Measure a mask ``[z, y, x]`` against the truth on the same grid."""
    nsd, hd95_mm = surface_figures(found, truth, geometry.spacing_mm)
    lesions = metrics.count_lesions(found, truth)
    alarms, far = metrics.false_alarms(found, truth)
    return MaskFigures(
        dice=metrics.dice(found, truth),
        nsd=nsd,
        hd95_mm=hd95_mm,
        false_positive_ml=int((found & ~truth).sum()) * geometry.voxel_ml,
        false_negative_ml=int((truth & ~found).sum()) * geometry.voxel_ml,
        lesions=lesions.lesions,
        lesions_found=lesions.found,
        false_lesions=lesions.false,
        alarms=alarms,
        far_slices=far,
    )


def measure_scores(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> ScoreFigures:
    """Measure scores ``[z, y, x]``, higher for tumour, against the truth on the same grid."""
    marked = np.asarray(truth.any(axis=(1, 2)))
    return ScoreFigures(metrics.average_precision(scores, truth), metrics.slice_scores(scores), marked)


def summarise(measured: Sequence[Measured]) -> Figures:
    """Return the figures over patients, each with its interval."""
    patients = [item.patient for item in measured]
    masks, scores = [item.mask for item in measured], [item.scores for item in measured]
    return Figures(
        dice=mean_interval([mask.dice for mask in masks], patients),
        nsd=mean_interval([mask.nsd for mask in masks], patients),
        hd95_mm=mean_interval([mask.hd95_mm for mask in masks], patients),
        auprc=mean_interval([score.auprc for score in scores], patients),
        false_positive_ml=mean_interval([mask.false_positive_ml for mask in masks], patients),
        lesion_sensitivity=share_interval(
            [mask.lesions_found for mask in masks], [mask.lesions for mask in masks], patients
        ),
        false_alarm_rate=share_interval([mask.alarms for mask in masks], [mask.far_slices for mask in masks], patients),
        slice_auroc=auroc_interval([score.slices for score in scores], [score.marked for score in scores], patients),
    )
