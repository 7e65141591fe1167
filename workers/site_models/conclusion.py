"""From what a multi-label network drew to one segmentation: mask, score, case score. Arrays are ``[z, y, x]``."""

from __future__ import annotations

import numpy as np
from numpy import float32, uint8
from numpy.typing import NDArray

from storage.domain import Algorithm, LabelEntry, LabelledGrid, LabelRole, Segmentation
from storage.volumes import Volume
from workers.errors import UnsuitableVolume

CASE_ML = 1.0
"""Volume whose highest lesion probabilities are averaged to the case score."""


def conclude(
    volume: Volume,
    labels: NDArray[uint8],
    lesion_probability: NDArray[float32],
    *,
    table: tuple[LabelEntry, ...],
    algorithm: Algorithm,
) -> Segmentation:
    """Return the segmentation of a model with a label table; such models have no measure of unlikeness, so that is 0.

    ``labels`` uint8 and ``lesion_probability`` float32 in 0..1 lie on the volume's own grid. UnsuitableVolume where a
    probability is no number: what was drawn with it would read as an image without a finding.
    """
    if not np.isfinite(lesion_probability).all():
        raise UnsuitableVolume("the network puts out values for this volume that are no numbers: nothing can be drawn")
    lesions = [entry.value for entry in table if entry.role is LabelRole.LESION]
    return Segmentation(
        mask=np.isin(labels, lesions),
        score_map=lesion_probability,
        case_score=case_score(lesion_probability, volume.geometry.voxel_ml),
        out_of_distribution=None,
        algorithm=algorithm,
        labelled=LabelledGrid(labels, table),
    )


def case_score(lesion_probability: NDArray[float32], voxel_ml: float) -> float:
    """Return the mean of the highest probabilities over about a millilitre: 0..1, not calibrated on healthy cases."""
    count = min(lesion_probability.size, max(1, round(CASE_ML / voxel_ml)))
    highest = np.partition(lesion_probability, lesion_probability.size - count, axis=None)[-count:]
    return float(np.clip(highest.mean(dtype=np.float64), 0.0, 1.0))
