"""Marks by the shipped foundation model's heads, for a family whose images are framed as that model frames heads.

They let the first round begin on unlabelled pictures: the family's own network has nothing to mark with yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab.training.families.enhancement import SELLA
from storage.progress import unheard
from workers import devices, weights
from workers.segmentation import grid, maps, networks
from workers.segmentation.maps import Models
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from lab.training.families.marking import Scorer
    from workers.segmentation.framing import FramedStack
    from workers.segmentation.prompts import PromptPair

UNKNOWN = 0.16
"""Score of what may be a pituitary tumour: too high for free, too low for found."""
BRIGHT = 1.15
"""Grey, as a multiple of the head's median, from which on tissue takes up contrast."""
WIDE = 1.8
"""How much farther than pituitary tumours are centred, bright tissue may belong to one."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundationScores:
    """Scores stacks with the heads on top of the frozen model, for one prompt."""

    models: Models
    prompt: PromptPair

    @classmethod
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype) -> FoundationScores:
        """Check the manifest and load what scores, asked for any tumour; raises WeightsMismatch."""
        weights.verify(folder)
        diffusion = LatentDiffusion.from_folder(folder, device=device, dtype=dtype)
        heads = tuple(devices.frozen(network, device) for network in networks.load_all(folder))
        return cls(Models(diffusion, heads), PromptEncoder(TextEncoder.load(), device).pair("tumor"))

    def scores(self, stack: FramedStack) -> NDArray[np.float32]:
        """Return the probability of a lesion at each pixel of a framed stack of 128 x 128 pixels."""
        found = maps.compute(
            self.models,
            stack.images,
            maps.shown_slices(grid.skull_masks(stack.images)),
            self.prompt,
            spacing_z_mm=stack.spacing_mm[0],
            mirrored=False,
            denoiser_attention=False,
            on_progress=unheard,
        )
        return np.asarray(found.head * stack.body, dtype=np.float32)


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
