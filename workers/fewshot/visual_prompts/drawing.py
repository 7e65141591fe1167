"""Prompts that are painted on the picture. Pictures uint8 ``[y, x, 3]``, masks bool ``[y, x]``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import float32, uint8
from numpy.typing import NDArray
from scipy import ndimage

from workers.fewshot.contracts import Mask, Picture

PALETTE = ((20, 170, 245), (245, 170, 20), (60, 200, 90), (220, 70, 170), (250, 230, 60), (150, 110, 240))
"""RGB for segments by their rank in area, smallest first. MedFocusCLIP draws random colours; ours must not change."""
BACKGROUND = (108, 37, 80)
OPACITY = 0.5
DIMMED = 0.1
_CONTOUR = (255, 0, 0)
_SOFT = 0.01
_BLUR = 0.03
"""Both as a share of the longer side, so that a prompt looks the same at any resolution."""


def overlay(picture: Picture, segments: Sequence[Mask]) -> Picture:
    """Tint every segment at half opacity and the rest in the background colour (MedFocusCLIP, figure 1).

    Segments are painted largest first, so that a small one stays visible on a large one.
    """
    ordered = sorted(segments, key=lambda segment: int(np.count_nonzero(segment)))
    colours = np.empty(picture.shape, dtype=float32)
    colours[...] = BACKGROUND
    for rank in range(len(ordered) - 1, -1, -1):
        colours[ordered[rank]] = PALETTE[rank % len(PALETTE)]
    return _rounded((1 - OPACITY) * picture + OPACITY * colours)


def contour(picture: Picture, mask: Mask) -> Picture:
    """Draw the outline of the mask in red, about one hundredth of the picture wide."""
    width = max(1, round(0.5 * _SOFT * max(mask.shape)))
    around = ndimage.binary_dilation(mask, iterations=width) & ~ndimage.binary_erosion(mask, iterations=width)
    drawn = picture.copy()
    drawn[around] = _CONTOUR
    return drawn


def blur(picture: Picture, mask: Mask) -> Picture:
    """Blur everything outside the mask."""
    sigma = _BLUR * max(mask.shape)
    outside = ndimage.gaussian_filter(picture.astype(float32), (sigma, sigma, 0))
    return _blended(picture, outside, mask)


def dim(picture: Picture, mask: Mask) -> Picture:
    """Darken everything outside the mask to a tenth."""
    return _blended(picture, DIMMED * picture.astype(float32), mask)


def _blended(inside: Picture, outside: NDArray[float32], mask: Mask) -> Picture:
    soft = ndimage.gaussian_filter(mask.astype(float32), _SOFT * max(mask.shape))
    weight = np.maximum(soft, mask)[..., None]
    return _rounded(weight * inside + (1 - weight) * outside)


def _rounded(values: NDArray[np.floating]) -> Picture:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=uint8)
