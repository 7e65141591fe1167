"""Where a component ends along the stack: slices in which it is faint beside its best slice are no part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]


def cut_ends(labels: NDArray[np.int32], scores: FloatArray, share: float) -> NDArray[np.int32]:
    """Return labels ``[z, y, x]`` without the faint ends of each component.

    A component keeps the slices around its best one, without a gap, in which its area times its mean score, its weight,
    is at least ``share`` of the largest such weight. A share of 0 keeps everything.
    """
    if share <= 0:
        return labels
    kept = np.zeros_like(labels)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        component = labels[box] == number
        weights = np.where(component, scores[box], 0.0).sum(axis=(1, 2))
        best = int(weights.argmax())
        runs, _ = ndimage.label(weights >= share * weights[best])
        component &= (runs == runs[best])[:, None, None]
        kept[box][component] = number
    return kept
