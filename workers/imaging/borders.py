"""Background that nobody declared as padding: a border of one value that is no air, and a border of noise.

Archives and converters fill what lies outside the body, and some sequences leave noise as bright as tissue there.
Left in, it counts as the brightest or darkest tissue there is, and every statistic is wrong.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from scipy import ndimage

_Mask = NDArray[bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

_MOST_OF_THE_BORDER = 0.5
"""A value fills the border where it has at least this share of its pixels."""
_FAR_ABOVE = 0.05
"""A border this share of the image's range above its darkest pixel is padding, not air."""
_FAR_BELOW = 0.5
"""The same below it, where more is usual: what was cut out of an image is often laid on zero."""
_VACUUM_HU = -1024.0
"""Nothing that a CT measures lies below this."""
_NOISY = 0.03
"""Noise at the border counts from this share of the image's range (standard deviation of neighbours)."""
_QUIETER = 0.5
"""And only where the middle of the image is quieter by this factor: elsewhere the whole image is noisy."""
_BAND = 5
_BLOCK = 7
"""Side of the smallest square of noise, in pixels: an edge of tissue is thinner."""


def undeclared_background(voxels: NDArray[float32], known: _Mask | None, *, modality: str) -> _Mask | None:
    """Return where what fills the border of the slices ``[z, y, x]`` is no image, or None where there is no such.

    ``known`` is background already. Only what hangs together with the border of its slice counts, so the same value or
    the same noise inside stays; beside noise a few pixels of the body's rim may be lost. The voxels are finite and not
    all equal.
    """
    filled = _filled_border(voxels, known, modality=modality)
    if filled is not None:
        return filled
    return _noisy_border(voxels) if modality == "MR" and known is None else None


def _filled_border(voxels: NDArray[float32], known: _Mask | None, *, modality: str) -> _Mask | None:
    edges = _edges(voxels) if known is None else _edges(voxels)[~_edges(known)]
    if not edges.size:
        return None
    values, counts = np.unique(edges, return_counts=True)
    value, count = values[counts.argmax()], int(counts.max())
    if count < _MOST_OF_THE_BORDER * edges.size:
        return None
    same: _Mask = np.equal(voxels, value)
    aside = same if known is None else same | known
    if aside.all():
        return None
    lowest, highest = (float(extreme) for extreme in extremes(voxels, aside))
    if _is_air(float(value), lowest, highest, modality=modality):
        return None
    for plane in same:
        plane[:] = _touching_the_edge(plane)
    return same


def extremes(voxels: NDArray[float32], aside: _Mask | None) -> tuple[float32, float32]:
    """Return the lowest and highest voxel outside a mask, both 0 where there is none, without a copy of the volume."""
    planes = voxels if aside is None else (plane[~left] for plane, left in zip(voxels, aside, strict=True))
    found = [(plane.min(), plane.max()) for plane in planes if plane.size]
    if not found:
        return float32(0), float32(0)
    lowest, highest = zip(*found, strict=True)
    # As numpy does: one value that is no number makes the whole none.
    return float32(np.min(lowest)), float32(np.max(highest))


def _is_air(value: float, lowest: float, highest: float, *, modality: str) -> bool:
    """Say whether a value is about as dark as the darkest of the image, as air is."""
    above, span = value - lowest, highest - lowest
    if above > _FAR_ABOVE * span:
        return False
    if modality == "CT":
        return value >= min(lowest, _VACUUM_HU)
    never_measured = value < 0 <= lowest
    return above >= -(_FAR_ABOVE if never_measured else _FAR_BELOW) * span


def _noisy_border(voxels: NDArray[float32]) -> _Mask | None:
    low, high = (float(value) for value in np.percentile(voxels[:, ::2, ::2], (0.5, 99.5)))
    rows, columns = voxels.shape[1:]
    if min(rows, columns) < 4 * _BAND or not high > low:
        return None
    sides = (voxels[:, :_BAND], voxels[:, -_BAND:], voxels[:, :, :_BAND], voxels[:, :, -_BAND:])
    # The quietest side counts: a body that reaches the border on one side is no noise.
    band = min(float(np.median(_roughness(part))) for part in sides)
    middle = _roughness(voxels[:, rows // 4 : -(rows // 4), columns // 4 : -(columns // 4)])
    if band < _NOISY * (high - low) or float(np.median(middle)) > _QUIETER * band:
        return None
    planes = [_noise_of(plane, _QUIETER * band) for plane in voxels]
    noise = np.stack(planes)
    return noise if noise.any() and not noise.all() else None


def _noise_of(plane: NDArray[float32], level: float) -> _Mask:
    """Return the noise that hangs together with the edge of one slice, in squares that no edge of tissue fills."""
    rough = ndimage.binary_closing(
        np.pad(_roughness(plane[None])[0] > level, _BLOCK, mode="edge"), np.ones((3, 3), dtype=bool)
    )
    blocks = ndimage.binary_opening(rough, np.ones((_BLOCK, _BLOCK), dtype=bool))[_BLOCK:-_BLOCK, _BLOCK:-_BLOCK]
    # The neighbours of noise are rough for the noise's sake.
    return ndimage.binary_erosion(_touching_the_edge(blocks), np.ones((3, 3), dtype=bool), border_value=1)


def _roughness(voxels: NDArray[float32]) -> NDArray[float32]:
    """Return the standard deviation of each pixel and its eight neighbours within the slice."""
    mean = ndimage.uniform_filter(voxels, (0, 3, 3))
    squares = ndimage.uniform_filter(voxels * voxels, (0, 3, 3))
    return np.asarray(np.sqrt(np.maximum(squares - mean * mean, 0)), dtype=float32)


def _edges(volume: NDArray[Scalar]) -> NDArray[Scalar]:
    return np.concatenate([part.ravel() for part in (volume[:, 0], volume[:, -1], volume[:, :, 0], volume[:, :, -1])])


def _touching_the_edge(plane: _Mask) -> _Mask:
    labels, _ = ndimage.label(plane)
    edge = np.unique(np.concatenate((labels[0], labels[-1], labels[:, 0], labels[:, -1])))
    return np.asarray(np.isin(labels, edge[edge > 0]), dtype=bool)
