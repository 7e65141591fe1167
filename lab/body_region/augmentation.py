"""What odd storage, framing and windows do to a picture, drawn anew for every sample. Planes are float32 ``[y, x]``."""

from __future__ import annotations

import numpy as np
from numpy import float32
from numpy.typing import NDArray
from scipy import ndimage

from workers.fewshot.contracts import Picture
from workers.guard.pictures import GreyWindow, as_picture

_TURN_DEGREES = 12.0
_LEAST_SHARE = 0.65
"""Of each side, that a cut-out keeps."""
_WIDER_SHARE = 0.35
"""Of each side, that may be black border: a larger field of view."""
_INVERTED, _CUT, _WIDER, _TURNED, _NOISY, _BLURRED = 0.1, 0.35, 0.2, 0.4, 0.3, 0.2
"""How often each of them happens."""


def altered(plane: NDArray[float32], window: GreyWindow, rng: np.random.Generator) -> Picture:
    """Return one altered picture of a plane, whose volume is shown in ``window``."""
    grey = _rewindowed(plane, window, rng)
    grey = _reframed(_oriented(grey, rng), rng)
    grey = _degraded(grey, rng)
    if rng.random() < _INVERTED:
        grey = 1 - grey
    return as_picture(np.asarray(np.clip(grey, 0, 1), dtype=float32))


def _rewindowed(plane: NDArray[float32], window: GreyWindow, rng: np.random.Generator) -> NDArray[float32]:
    width = window.high - window.low
    low = window.low + width * rng.uniform(-0.15, 0.2)
    high = window.high + width * rng.uniform(-0.35, 0.3)
    return np.asarray(GreyWindow(low, high).grey(plane) ** np.exp(rng.normal(0, 0.3)), dtype=float32)


def _oriented(grey: NDArray[float32], rng: np.random.Generator) -> NDArray[float32]:
    """Mirror it or not, turn it by quarters (half of the pictures stay upright), and a little more."""
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them
        grey = np.rot90(grey, k=int(rng.integers(1, 4)))
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them
        grey = grey[:, ::-1]
    if rng.random() < _TURNED:
        grey = ndimage.rotate(grey, rng.uniform(-_TURN_DEGREES, _TURN_DEGREES), reshape=False, order=1)
    return np.asarray(grey, dtype=float32)


def _reframed(grey: NDArray[float32], rng: np.random.Generator) -> NDArray[float32]:
    if rng.random() < _CUT:
        height, width = (max(8, round(n * rng.uniform(_LEAST_SHARE, 1))) for n in grey.shape)
        top, left = (
            int(rng.integers(0, max(1, n - kept + 1))) for n, kept in zip(grey.shape, (height, width), strict=True)
        )
        grey = grey[top : top + height, left : left + width]
    elif rng.random() < _WIDER:
        borders = [tuple(round(n * rng.uniform(0, _WIDER_SHARE)) for _ in range(2)) for n in grey.shape]
        grey = np.pad(grey, borders)
    return grey


def _degraded(grey: NDArray[float32], rng: np.random.Generator) -> NDArray[float32]:
    if rng.random() < _BLURRED:
        grey = ndimage.gaussian_filter(grey, max(grey.shape) * rng.uniform(0.002, 0.012))
    if rng.random() < _NOISY:
        grey = grey + rng.normal(0, rng.uniform(0.01, 0.08), grey.shape).astype(float32)
    return grey
