"""How far two masks' surfaces lie apart: normalised surface distance and Hausdorff distance. Arrays are ``[z, y, x]``.

The surface of a mask is those of its voxels that have a face neighbour outside it, or lie at the edge of the grid.
Along an axis with one voxel there are no neighbours, so that a single image is judged by its outline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector

    BoolArray = NDArray[np.bool_]

TOLERANCE_MM = 2.0
HAUSDORFF_PERCENTILE = 95.0


def surface_figures(found: BoolArray, truth: BoolArray, spacing_mm: Vector) -> tuple[float, float | None]:
    """Return the normalised surface distance at 2 mm, and the 95th percentile Hausdorff distance in mm.

    The first is the share of both surfaces that lies within the tolerance of the other one. The second is the larger
    of the two directed percentiles. Two empty masks agree (1 and 0 mm); where one alone is empty the first is 0 and the
    second does not exist (None).
    """
    if not found.any() or not truth.any():
        both_empty = not found.any() and not truth.any()
        return (1.0, 0.0) if both_empty else (0.0, None)
    there, back = surface_distances(found, truth, spacing_mm)
    near = int((there <= TOLERANCE_MM).sum()) + int((back <= TOLERANCE_MM).sum())
    farthest = max(float(np.percentile(distances, HAUSDORFF_PERCENTILE)) for distances in (there, back))
    return near / (len(there) + len(back)), farthest


def surface_distances(
    found: BoolArray, truth: BoolArray, spacing_mm: Vector
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return every surface voxel's distance in mm to the other mask's surface: (found to truth, truth to found)."""
    box = ndimage.find_objects((found | truth).astype(np.uint8))[0]
    surfaces = surface(found[box]), surface(truth[box])
    to_found, to_truth = (ndimage.distance_transform_edt(~outline, sampling=spacing_mm) for outline in surfaces)
    return np.asarray(to_truth[surfaces[0]]), np.asarray(to_found[surfaces[1]])


def surface(mask: BoolArray) -> BoolArray:
    """Return the voxels of a mask that have a neighbour outside it."""
    extents = [3 if size > 1 else 1 for size in mask.shape]
    cross = ndimage.generate_binary_structure(mask.ndim, 1)
    reach = cross[tuple(slice(None) if extent > 1 else slice(1, 2) for extent in extents)]
    return np.asarray(mask & ~ndimage.binary_erosion(mask, reach), dtype=bool)
