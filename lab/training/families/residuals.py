"""Residuals of the pseudo-healthy image where a family's score is high, as channels beside that score.

The frozen model for heads redraws what is suspicious, and what it gives back is compared with what it gives back of the
picture as it is. It knows pictures of 128 x 128: of a framed slice it is shown windows of the family's patch, brought
to that size, until each suspicious pixel has been in one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from workers import weights
from workers.segmentation import calibration, inpainting
from workers.segmentation.calibration import Mode
from workers.segmentation.family_segmenter import ANYTHING
from workers.segmentation.grid import IMAGE_SIZE
from workers.segmentation.maps import BATCH
from workers.segmentation.model import LatentDiffusion
from workers.segmentation.prompts import PromptEncoder, TextEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.segmentation.calibration import ModeSettings
    from workers.segmentation.families import Family
    from workers.segmentation.prompts import PromptPair

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float32]

SUSPICIOUS = 0.2
"""Score above which a pixel is redrawn, with what surrounds it (``inpainting.DILATION``)."""
STEPS = 4
"""Denoising steps."""
SCORE, PIXEL, FEATURE = range(3)
"""What the channels hold: the log-odds of the score, and both residuals."""
SURE = 1e-4
"""Scores nearer to 0 or 1 than this count as this far away."""


@dataclass(frozen=True, slots=True)
class Window:
    """A square of a stack's slice ``z``, of the family's patch; where the slice is smaller it goes beyond its edges."""

    z: int
    top: int
    left: int


@dataclass(frozen=True, slots=True, eq=False)
class Redrawer:
    """The frozen model as it redraws one family's slices."""

    diffusion: LatentDiffusion
    prompt: PromptPair
    settings: ModeSettings
    side: int

    @classmethod
    def load(cls, folder: Path, family: Family, dtype: torch.dtype) -> Redrawer:
        """Check the manifest and load the model on the processor; raises WeightsMismatch."""
        weights.verify(folder)
        device = torch.device("cpu")
        settings = replace(calibration.load(folder).modes[Mode.FAST], steps=STEPS, guidance=1.0)
        prompt = PromptEncoder(TextEncoder.load(), device).pair(ANYTHING, min(family.modalities))
        return cls(LatentDiffusion.from_folder(folder, device=device, dtype=dtype), prompt, settings, family.side)

    def channels(self, images: FloatArray, scores: FloatArray) -> Tensor:
        """Return ``[n, 3, y, x]`` of slices (-1..1) with their scores (0..1): log-odds, pixel and feature residual.

        Residuals are 0 where nothing was redrawn.
        """
        sure = torch.from_numpy(scores).clamp(SURE, 1.0 - SURE)
        residuals = torch.zeros((len(images), 2, *images.shape[1:]))
        suspicious = scores > SUSPICIOUS
        placed = list(windows(suspicious, self.side))
        for start in range(0, len(placed), BATCH):
            some = placed[start : start + BATCH]
            for window, found in zip(some, self._redrawn(images, suspicious, some), strict=True):
                _keep(residuals[window.z], found, window)
        return torch.cat([torch.logit(sure)[:, None], residuals], dim=1)

    def _redrawn(self, images: FloatArray, suspicious: BoolArray, placed: Sequence[Window]) -> Tensor:
        """Return both residuals of windows, ``[n, 2, side, side]``."""
        shown = np.stack([_cut(images[window.z], window, self.side, -1.0) for window in placed])
        region = np.stack([_cut(suspicious[window.z].astype(np.float32), window, self.side, 0.0) for window in placed])
        drawn = inpainting.redraw_slices(
            self.diffusion,
            _resized(torch.from_numpy(shown)[:, None], IMAGE_SIZE)[:, 0].numpy(),
            _resized(torch.from_numpy(region)[:, None], IMAGE_SIZE)[:, 0].numpy() > 0.5,  # noqa: PLR2004 - nearest
            prompt=self.prompt,
            settings=self.settings,
        )
        both = np.stack([drawn.pixel_residual, drawn.feature_residual], axis=1)
        return _resized(torch.from_numpy(both), self.side)


def windows(suspicious: BoolArray, side: int) -> Iterator[Window]:
    """Return windows that together hold each suspicious pixel of a stack ``[z, y, x]``, the largest parts first."""
    rows, columns = suspicious.shape[1:]
    for z in np.flatnonzero(suspicious.any(axis=(1, 2))):
        left_over = suspicious[z].copy()
        while left_over.any():
            row, column = _middle_of_largest(left_over)
            window = Window(int(z), _start(row, side, rows), _start(column, side, columns))
            left_over[max(0, window.top) : window.top + side, max(0, window.left) : window.left + side] = False
            yield window


def _middle_of_largest(region: BoolArray) -> tuple[int, int]:
    """Return the pixel of the largest component that is nearest to its centre."""
    labels, _ = ndimage.label(region)
    sizes = np.bincount(labels.ravel())
    places = np.argwhere(labels == 1 + int(sizes[1:].argmax()))
    row, column = places[np.square(places - places.mean(axis=0)).sum(axis=1).argmin()]
    return int(row), int(column)


def _start(middle: int, side: int, length: int) -> int:
    """Return where a window begins along an axis: around its middle and within the slice, or the slice within it."""
    if length <= side:
        return -((side - length) // 2)
    return min(max(0, middle - side // 2), length - side)


def _inside(window: Window, side: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    return (
        slice(max(0, window.top), min(shape[-2], window.top + side)),
        slice(max(0, window.left), min(shape[-1], window.left + side)),
    )


def _cut(plane: FloatArray, window: Window, side: int, beyond: float) -> FloatArray:
    """Return what a window shows of a slice, ``beyond`` outside it."""
    shown = np.full((side, side), beyond, np.float32)
    rows, columns = _inside(window, side, plane.shape)
    kept = plane[rows, columns]
    top, left = rows.start - window.top, columns.start - window.left
    shown[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
    return shown


def _keep(residuals: Tensor, found: Tensor, window: Window) -> None:
    """Write the residuals ``[2, side, side]`` of a window into its slice's, the higher where windows overlap."""
    rows, columns = _inside(window, found.shape[-1], tuple(residuals.shape))
    top, left = rows.start - window.top, columns.start - window.left
    place = residuals[:, rows, columns]
    part = found[:, top : top + place.shape[1], left : left + place.shape[2]]
    torch.maximum(place, part, out=place)


def _resized(pictures: Tensor, side: int) -> Tensor:
    if pictures.shape[-1] == side:
        return pictures
    resized: Tensor = functional.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    return resized
