"""A bright, irregular, infiltrating mass with a soft edge, and the mask that says where it truly is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from scipy import ndimage

from phantom.anatomy import Contrast, Folds, HeadAnatomy, Position
from phantom.texture import Field, ellipsoid, soft_step

_HIGHEST_MM = 46.0
_LOWEST_MM = -12.0


@dataclass(frozen=True, slots=True, eq=False)
class Lesion:
    """What a lesion adds to a head: how much of each voxel it fills, how bright it is, and its true extent."""

    fraction: Field
    brightness: Field
    mask: NDArray[bool_]


def grow_lesion(
    rng: np.random.Generator, at: Position, *, head: HeadAnatomy, folds: Folds, contrast: Contrast
) -> Lesion:
    """Grow one lesion of 9 to 24 mm radius in the cerebral white matter; about one in three has a darker core."""
    radius_mm = rng.uniform(9, 24)
    x, y, z = _centre(rng, at, head, radius_mm)
    stretch = rng.uniform(0.75, 1.3, 3)
    core = ellipsoid(at, (x, y, z), (radius_mm * stretch[0], radius_mm * stretch[1], radius_mm * stretch[2]))
    ragged = core + radius_mm * (0.26 * folds.patches + 0.10 * folds.gyri)
    held = np.minimum(ragged, np.minimum(head.brain_mm - 0.5, -head.ventricles_mm - 0.5))
    held = np.asarray(held, float32)
    mask = _largest_part(held > 0)
    held = np.where(ndimage.binary_dilation(mask, iterations=3), held, np.minimum(held, -6)).astype(float32)
    edge_mm = rng.uniform(1.6, 3.2)
    peak = contrast.white * rng.uniform(1.65, 2.5)
    shade = peak * (1 + 0.09 * folds.patches + 0.05 * folds.grain - 0.10 * folds.gyri)
    if rng.random() < 0.35:  # noqa: PLR2004 - the chance named in the docstring
        shade = shade - 0.55 * peak * soft_step(core - float32(0.55 * radius_mm), width_mm=2.0)
    return Lesion(soft_step(held, width_mm=edge_mm), np.asarray(shade, float32), mask)


def _centre(rng: np.random.Generator, at: Position, head: HeadAnatomy, radius_mm: float) -> tuple[float, float, float]:
    """Return a position deep enough in the cerebrum that most of the lesion has room."""
    z = at[2]
    room = (z > _LOWEST_MM) & (z < _HIGHEST_MM) & (head.ventricles_mm < -0.3 * radius_mm)
    wanted_mm = 0.55 * radius_mm
    candidates = np.flatnonzero(room & (head.brain_mm > wanted_mm))
    if candidates.size == 0:
        candidates = np.flatnonzero(head.brain_mm >= head.brain_mm.max())
    chosen = int(rng.choice(candidates))
    return float(at[0].flat[chosen]), float(at[1].flat[chosen]), float(z.flat[chosen])


def _largest_part(mask: NDArray[bool_]) -> NDArray[bool_]:
    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    return np.asarray(parts == int(sizes.argmax()) + 1, dtype=bool)
