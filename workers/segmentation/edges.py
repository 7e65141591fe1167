"""The edge of a find, drawn along the image's own grey: halfway between the lesion's and the tissue's around it.

The score says where a lesion is, in blobs smoother than any lesion; whoever outlines one follows its grey, around gyri
and the fluid beside it. A find therefore gives up what looks like tissue at its edge and takes in what looks like
itself nearby; what it encloses in a slice stays with it, whatever its grey. Where that would cost it too much, its grey
is not what makes it a lesion, and its edge stays. The numbers below were compared on labelled patients that are not for
testing (lab/notebook/0017, 0019), ``KEPT`` hangs on few of them; both greys come from the image at hand. Arrays are
``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from workers.segmentation import framing
from workers.segmentation.mask import filled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from storage.domain import Vector

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]
    Box = tuple[slice, slice, slice]

HALFWAY = 0.5
"""How far the edge lies on the way from the tissue's grey to the lesion's: half, as widths are measured."""
KEPT = 0.6
"""Least share of a find that must lie on the lesion's side of that edge, for the edge to be believed."""
FAINT = 0.02
"""Below this score nothing is taken in."""
CERTAIN = 0.9
"""The lesion's grey is the median where the score is at least this share of the find's highest."""
TISSUE_BELOW = 0.1
"""The tissue's grey is the median where the score is lower than this."""
SKULL_PIXELS = 10.0
"""Outer part of the framed head, in pixels of the model's grid, that is skull and scalp and not tissue."""
ENOUGH_PIXELS = 50
WITHIN_SLICES = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], dtype=bool)
"""What is taken in touches the find in its slice, or what has been taken in already."""
LEAST_CONTRAST = 0.1
"""Difference of lesion and tissue, as a share of the tissue's grey, below which there is no edge to be seen."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a stack looks like: ``grey`` in 0..1 on the score's grid, and the greys of the tissue of each slice."""

    grey: FloatArray
    tissue: tuple[FloatArray, ...]


def tissue(images: FloatArray, scores: FloatArray) -> tuple[FloatArray, ...]:
    """Collect for each slice the greys (0..1) of tissue that scores nothing.

    ``images`` are framed ``[z, 128, 128]`` in -1..1, ``scores`` of the same shape, smoothed across slices.
    """
    return tuple(
        (image[_inside(image) & (score < TISSUE_BELOW)] + 1) / 2 for image, score in zip(images, scores, strict=True)
    )


def _inside(image: FloatArray) -> BoolArray:
    return np.asarray(ndimage.distance_transform_edt(framing.head(image)) > SKULL_PIXELS, dtype=bool)


def follow(mask: BoolArray, scores: FloatArray, look: Look, *, spacing_mm: Vector, reach_mm: float) -> BoolArray:
    """Move the edge of every component of ``mask``, by no more than ``reach_mm`` out or in within its slices."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    moved = np.zeros_like(mask)
    for box, component in components(labels, margin=margin(spacing_mm, reach_mm)):
        moved[box] |= moved_edge(component, scores, look, box=box, reach=reach_mm / spacing_mm[1])
    return moved


def margin(spacing_mm: Vector, reach_mm: float) -> int:
    """Tell how many pixels around a component its edge may move into."""
    return int(np.ceil(reach_mm / min(spacing_mm[1:])))


def components(labels: NDArray[np.integer], *, margin: int) -> Iterator[tuple[Box, BoolArray]]:
    """Give each labelled component within its box, which is wider by ``margin`` pixels within the slices."""
    for index, (z, y, x) in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = (slice(max(0, side.start - margin), side.stop + margin) for side in (y, x))
        box = (z, rows, columns)
        yield box, labels[box] == index


def moved_edge(component: BoolArray, scores: FloatArray, look: Look, *, box: Box, reach: float) -> BoolArray:
    """Give what a component's edge encloses, within its ``box``, once it follows the grey; ``reach`` is in pixels.

    ``component`` fills the box; ``scores`` and ``look`` are those of the whole stack.
    """
    grey, score = look.grey[box], scores[box]
    around = np.concatenate(look.tissue[box[0]])
    if len(around) < ENOUGH_PIXELS:
        return component
    lowest = float(np.median(around))
    contrast = float(np.median(grey[component & (score >= CERTAIN * score[component].max())])) - lowest
    if abs(contrast) <= LEAST_CONTRAST * lowest:
        return component
    like_lesion = (grey - lowest) / contrast > HALFWAY
    near = np.stack([ndimage.distance_transform_edt(~plane) <= reach for plane in component])
    deep = np.stack([ndimage.distance_transform_edt(plane) > reach for plane in component])
    joined = ndimage.binary_propagation(
        component & like_lesion, structure=WITHIN_SLICES, mask=near & like_lesion & (score > FAINT)
    )
    kept = np.count_nonzero(joined & component) / np.count_nonzero(component)
    return filled(joined | deep) if kept >= KEPT else component
