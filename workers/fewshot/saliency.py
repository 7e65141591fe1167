"""Where a classifier looked: Grad-CAM on the last feature map of a CNN, and any map put on the planes of a volume.

Neither shows why, and both miss small lesions: the mask that was used is the explanation to trust first. Maps are
float32 ``[h, w]`` on a grid, then ``[y, x]`` on the plane, in 0..1.
"""

from __future__ import annotations

import numpy as np
from numpy import bool_, float32, float64
from numpy.typing import NDArray
from scipy import ndimage

from storage.explanations import SaliencyMap
from workers.fewshot.classifier import FittedAdapter
from workers.fewshot.lesion_views import LesionView, Placement

_STEP = 1e-2
_TINY = 1e-9
_SAME_DIRECTION = 0.99
"""Cosine."""


def class_activation(adapter: FittedAdapter, view: LesionView, label: str) -> NDArray[float32]:
    """Return Grad-CAM (Selvaraju et al., 2017) of a class ``[n, h, w]`` for a vector that is a mean of its grid.

    The derivative of the log-probability along each cell's vector is what Grad-CAM sums over channels; it is taken
    numerically, so that it holds for every head.
    """
    cells = view.grids.reshape(-1, view.grids.shape[-1])
    towards = _evidence(adapter, view, view.vector[None] + _STEP * (cells - view.vector[None]), label)
    return towards if view.weights is None else np.asarray(towards * view.weights, dtype=float32)


def pooled_part(view: LesionView) -> slice | None:
    """Return which part of the vector points where the mean of the grid does; None where no part does.

    Encoders that put unit vectors of several layers side by side have such a part.
    """
    channels, mean = view.grids.shape[-1], view.grids.mean(axis=(0, 1, 2))
    for start in range(0, len(view.vector) - channels + 1, channels):
        part = view.vector[start : start + channels]
        if float(part @ mean) > _SAME_DIRECTION * max(float(np.linalg.norm(part) * np.linalg.norm(mean)), _TINY):
            return slice(start, start + channels)
    return None


def part_activation(adapter: FittedAdapter, view: LesionView, part: slice, label: str) -> NDArray[float32]:
    """Return Grad-CAM of a class ``[n, h, w]`` along the part of the vector that is the mean of its grid, scaled."""
    cells, own = view.grids.reshape(-1, view.grids.shape[-1]), view.vector[part]
    length = float(np.linalg.norm(own))
    turned = own + _STEP * (cells * length - own)
    moved = np.repeat(view.vector[None], len(cells), axis=0)
    moved[:, part] = turned * (length / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), _TINY))
    return _evidence(adapter, view, moved, label)


def _evidence(adapter: FittedAdapter, view: LesionView, moved: NDArray[float32], label: str) -> NDArray[float32]:
    """Return how much the log-probability of a class rises for each moved vector ``[cells, d]``, on the grid."""
    column = adapter.classes.index(label)
    given = adapter.head.predict_proba(np.concatenate([view.vector[None], moved]).astype(float32))[:, column]
    logs = np.log(np.clip(given.astype(float64), _TINY, None))
    return np.asarray(np.maximum(logs[1:] - logs[0], 0.0).reshape(view.grids.shape[:3]), dtype=float32)


def on_plane(cells: NDArray[float32], place: Placement, *, shape: tuple[int, int]) -> NDArray[float32]:
    """Put a map ``[h, w]`` where its picture lies in a plane ``[y, x]``, scaled to 0..1; 0 outside the picture."""
    rows = (np.arange(shape[0]) + 0.5 - place.top) / place.height
    columns = (np.arange(shape[1]) + 0.5 - place.left) / place.width
    where = np.meshgrid(rows * cells.shape[0] - 0.5, columns * cells.shape[1] - 0.5, indexing="ij")
    inside = ((rows >= 0) & (rows <= 1))[:, None] & ((columns >= 0) & (columns <= 1))[None]
    plane = np.where(inside, ndimage.map_coordinates(cells, where, order=1, mode="nearest"), 0.0)
    return np.asarray(plane / max(float(plane.max()), _TINY), dtype=float32)


def saliency_of(view: LesionView, cells: NDArray[float32], *, shape: tuple[int, int]) -> SaliencyMap:
    """Put the maps of a view ``[n, h, w]`` on their slices."""
    planes = [on_plane(one, place, shape=shape) for one, place in zip(cells, view.placements, strict=True)]
    return SaliencyMap(view.slices, np.stack(planes))


def in_mask_share(saliency: SaliencyMap, mask: NDArray[bool_]) -> float | None:
    """Return which share of the map lies under the mask ``[z, y, x]``; None where the map is empty."""
    total = float(saliency.values.sum())
    if total <= _TINY:
        return None
    inside = sum(float(plane[mask[z]].sum()) for z, plane in zip(saliency.slices, saliency.values, strict=True))
    return inside / total
