"""The parts of the method that an ablation compares: one row each, from the attention map alone to everything together.

To compare something else, add a row: any function of the maps that gives a score in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.segmentation.maps import AnomalyMaps

    FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AblationPart:
    """One row: which maps make the score, and what is done to it.

    ``smoothed`` blurs it across slices, ``sifted`` drops components by the mode's rule, ``contoured`` draws the edge of
    each component where that rule does instead of at one level for all, ``spread`` spreads the score along the grey
    first, ``edged`` lets the edge follow the grey afterwards, ``mirrored`` averages the maps with those of the mirror
    image.
    """

    name: str
    score: Callable[[AnomalyMaps], FloatArray]
    smoothed: bool = True
    sifted: bool = True
    contoured: bool = False
    spread: bool = False
    edged: bool = False
    mirrored: bool = False


def attention(maps: AnomalyMaps) -> FloatArray:
    """Return the attention map alone."""
    return maps.attention


def cross_attention(maps: AnomalyMaps) -> FloatArray:
    """Return the map of the denoiser's cross-attention alone."""
    return maps.cross_attention


def head(maps: AnomalyMaps) -> FloatArray:
    """Return the map of the learned residual head alone."""
    return maps.head


def with_attention(maps: AnomalyMaps) -> FloatArray:
    """Return four fifths of the head's map and a fifth of the attention map."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.attention, dtype=np.float32)


def with_cross_attention(maps: AnomalyMaps) -> FloatArray:
    """Return four fifths of the head's map and a fifth of the cross-attention map."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.cross_attention, dtype=np.float32)


def with_pixel_residual(maps: AnomalyMaps) -> FloatArray:
    """Return four fifths of the head's map and a fifth of the pixel residual."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.pixel_residual, dtype=np.float32)


def with_feature_residual(maps: AnomalyMaps) -> FloatArray:
    """Return four fifths of the head's map and a fifth of the feature residual."""
    return np.asarray(0.8 * maps.head + 0.2 * maps.feature_residual, dtype=np.float32)


def with_both_residuals(maps: AnomalyMaps) -> FloatArray:
    """Return four fifths of the head's map and a tenth of each residual."""
    residuals = maps.pixel_residual + maps.feature_residual
    return np.asarray(0.8 * maps.head + 0.1 * residuals, dtype=np.float32)


def residual(maps: AnomalyMaps) -> FloatArray:
    """Return the mean of both residuals alone."""
    return maps.residual


PARTS = (
    AblationPart("attention alone, slice by slice", attention, smoothed=False, sifted=False),
    AblationPart(
        "cross-attention of the denoiser alone, slice by slice", cross_attention, smoothed=False, sifted=False
    ),
    AblationPart("residual alone, slice by slice", residual, smoothed=False, sifted=False),
    AblationPart("learned head, slice by slice", head, smoothed=False, sifted=False),
    AblationPart("head + attention", with_attention, smoothed=False, sifted=False),
    AblationPart("head + cross-attention", with_cross_attention, smoothed=False, sifted=False),
    AblationPart("head + pixel residual of the inpainting", with_pixel_residual, smoothed=False, sifted=False),
    AblationPart("head + feature residual of the inpainting", with_feature_residual, smoothed=False, sifted=False),
    AblationPart("head + both residuals", with_both_residuals, smoothed=False, sifted=False),
    AblationPart("head + smoothing across slices", head, sifted=False),
    AblationPart("head + smoothing + component rule", head),
    AblationPart("head + smoothing + component rule + level of its own for each component", head, contoured=True),
    AblationPart("head + smoothing + component rule + edge along the grey", head, edged=True),
    AblationPart(
        "head + smoothing + component rule + own level + edge along the grey", head, contoured=True, edged=True
    ),
    AblationPart(
        "head + smoothing + spread along the grey + component rule + own level", head, contoured=True, spread=True
    ),
    AblationPart(
        "head + smoothing + spread along the grey + component rule + own level + edge along the grey",
        head,
        contoured=True,
        spread=True,
        edged=True,
    ),
    AblationPart("head + both residuals + smoothing + component rule", with_both_residuals),
    AblationPart("head + smoothing + component rule + mirrored look", head, mirrored=True),
    AblationPart(
        "head + both residuals + smoothing + component rule + mirrored look", with_both_residuals, mirrored=True
    ),
)
