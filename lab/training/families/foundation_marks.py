"""Marks by the shipped foundation model's heads, for a family whose images are framed as that model frames heads.

They let the first round begin on unlabelled pictures: the family's own network has nothing to mark with yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab.training.families.enhancement import SELLA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.training.families.marking import Scorer
    from workers.segmentation.framing import FramedStack

UNKNOWN = 0.16
"""Score of what may be a pituitary tumour: too high for free, too low for found."""
BRIGHT = 1.15
"""Grey, as a multiple of the head's median, from which on tissue takes up contrast."""
WIDE = 1.8
"""How much farther than pituitary tumours are centred, bright tissue may belong to one."""


@dataclass(frozen=True, slots=True, eq=False)
class HesitantScores:
    """Scores of a scorer that knows no pituitary tumours: what takes up contrast where they lie is in doubt."""

    scorer: Scorer

    def scores(self, stack: FramedStack) -> NDArray[np.float32]:
        """Return the scorer's scores, of nothing bright in the middle of the head lower than ``UNKNOWN``."""
        grey = ndimage.gaussian_filter((stack.images + 1.0) / 2.0, (0.0, 0.7, 0.7))
        bright = grey > BRIGHT * (float(np.median(grey[stack.body])) if stack.body.any() else 1.0)
        y, x = ((np.arange(side) + 0.5) / side for side in stack.images.shape[1:])
        (y_middle, y_spread), (x_middle, x_spread) = SELLA
        away = np.square((y[:, None] - y_middle) / y_spread) + np.square((x[None] - x_middle) / x_spread)
        doubt = np.where(bright & (away < WIDE**2), UNKNOWN, 0.0)
        return np.maximum(self.scorer.scores(stack), doubt).astype(np.float32)
