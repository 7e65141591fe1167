"""Marks of the shipped foundation model's heads, for a family whose images are framed as that model frames heads.

They let the first round begin on unlabelled pictures: the family's own network has nothing to mark with yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from storage.progress import unheard
from workers.segmentation import grid, maps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.framing import FramedStack
    from workers.segmentation.prompts import PromptPair
    from workers.segmentation.segmenter import ZeroShotSegmenter


@dataclass(frozen=True, slots=True, eq=False)
class FoundationScores:
    """Scores stacks with the heads of a loaded segmenter, for one prompt."""

    segmenter: ZeroShotSegmenter
    prompt: PromptPair

    def scores(self, stack: FramedStack) -> NDArray[np.float32]:
        """Return the probability of a lesion at each pixel of a framed stack of 128 x 128 pixels."""
        found = maps.compute(
            self.segmenter.models,
            stack.images,
            maps.shown_slices(grid.skull_masks(stack.images)),
            self.prompt,
            spacing_z_mm=stack.spacing_mm[0],
            mirrored=False,
            denoiser_attention=False,
            on_progress=unheard,
        )
        return np.asarray(found.head * stack.body, dtype=np.float32)
