"""Move the edge of a component so that it follows the image's grey: halfway between lesion and surrounding tissue.

The score shows where a lesion is, but its contours are smoother than those of any lesion. People who outline a lesion
follow its grey, around gyri and the fluid beside it. So a component loses pixels at its edge that look like tissue and
gains pixels nearby that look like the component. What it encloses within a slice stays, whatever its grey. Where a
component would lose too much, its grey is not what makes it a lesion, and its edge stays where it is.

The constants were compared on labelled patients that are not for testing (lab/notebook/0017, 0019); ``KEPT`` depends
on few of them. Both greys are measured in the image at hand. Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from storage.volumes import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]
    Box = tuple[slice, slice, slice]

HALFWAY = 0.5
"""Where the edge lies between the tissue's grey (0) and the lesion's (1)."""
KEPT = 0.6
"""Least share of a component that must look like the lesion, for its edge to be moved."""
FAINT = 0.02
"""Pixels that score less than this are never added."""
CERTAIN = 0.9
"""The lesion's grey is the median where the score is at least this share of the component's highest."""
TISSUE_BELOW = 0.1
"""The tissue's grey is the median where the score is lower than this."""
SKULL_PIXELS = 10.0
"""Outer part of the skull mask, in pixels of the model's grid, that is bone and scalp and not tissue."""
ENOUGH_PIXELS = 50
"""Fewest pixels of tissue whose median is taken for the tissue's grey."""
WITHIN_SLICES = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], dtype=bool)
"""A pixel is added only beside the component, or beside another added pixel, of its own slice."""
LEAST_CONTRAST = 0.1
"""Difference of lesion and tissue, as a share of the tissue's grey, below which there is no edge to be seen."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageGreys:
    """The greys of a stack: ``grey`` in 0..1 on the score's grid, and for each slice the greys of its tissue."""

    grey: FloatArray
    tissue: tuple[FloatArray, ...]


def image_greys(images: FloatArray, skull: BoolArray, scores: FloatArray) -> ImageGreys:
    """Return the greys of ``images`` (-1..1); tissue lies inside the ``skull`` and scores nothing.

    All three are ``[z, 128, 128]``; ``scores`` are smoothed across slices.
    """
    tissue = tuple(
        (image[_inside(enclosed) & (score < TISSUE_BELOW)] + 1) / 2
        for image, enclosed, score in zip(images, skull, scores, strict=True)
    )
    return ImageGreys((images + 1.0) / 2.0, tissue)


def _inside(skull: BoolArray) -> BoolArray:
    return np.asarray(ndimage.distance_transform_edt(skull) > SKULL_PIXELS, dtype=bool)


def follow_grey(
    labels: NDArray[np.integer], scores: FloatArray, greys: ImageGreys, *, spacing_mm: Vector, reach_mm: float
) -> BoolArray:
    """Return the mask of all labelled components, each edge moved in or out by at most ``reach_mm`` in its slices."""
    moved = np.zeros(labels.shape, dtype=bool)
    for box, component in components(labels, margin=margin(spacing_mm, reach_mm)):
        moved[box] |= moved_edge(component, scores, greys, box=box, reach=reach_mm / spacing_mm[1])
    return moved


def margin(spacing_mm: Vector, reach_mm: float) -> int:
    """Return how many pixels around a component its edge may move into."""
    return int(np.ceil(reach_mm / min(spacing_mm[1:])))


def components(labels: NDArray[np.integer], *, margin: int) -> Iterator[tuple[Box, BoolArray]]:
    """Yield each labelled component within its box, which is wider by ``margin`` pixels within the slices."""
    for index, found in enumerate(ndimage.find_objects(labels), start=1):
        if found is not None:
            z, *sides = found
            rows, columns = (slice(max(0, side.start - margin), side.stop + margin) for side in sides)
            box = (z, rows, columns)
            yield box, labels[box] == index


def moved_edge(component: BoolArray, scores: FloatArray, greys: ImageGreys, *, box: Box, reach: float) -> BoolArray:
    """Return a component, which fills its ``box``, with its edge moved along the grey by at most ``reach`` pixels.

    ``scores`` and ``greys`` are those of the whole stack.
    """
    grey, score = greys.grey[box], scores[box]
    tissue = np.concatenate(greys.tissue[box[0]])
    if len(tissue) < ENOUGH_PIXELS:
        return component
    tissue_grey = float(np.median(tissue))
    contrast = float(np.median(grey[component & (score >= CERTAIN * score[component].max())])) - tissue_grey
    if abs(contrast) <= LEAST_CONTRAST * tissue_grey:
        return component
    like_lesion = (grey - tissue_grey) / contrast > HALFWAY
    near = np.stack([ndimage.distance_transform_edt(~plane) <= reach for plane in component])
    deep = np.stack([ndimage.distance_transform_edt(plane) > reach for plane in component])
    joined = ndimage.binary_propagation(
        component & like_lesion, structure=WITHIN_SLICES, mask=near & like_lesion & (score > FAINT)
    )
    kept = np.count_nonzero(joined & component) / np.count_nonzero(component)
    return fill_holes(joined | deep) if kept >= KEPT else component


def fill_holes(mask: BoolArray) -> BoolArray:
    """Return ``mask`` with what it encloses in each of its slices."""
    return np.asarray(np.stack([ndimage.binary_fill_holes(plane) if plane.any() else plane for plane in mask]))
