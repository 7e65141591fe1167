"""Display shutters: what a radiographer's collimation left outside, and no reader is shown (PS3.3 C.7.6.11)."""

from __future__ import annotations

import numpy as np
from numpy import bool_
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from workers.imaging.decimals import decimal, decimals

SHUTTER_KEYWORDS = (
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
)
_FEWEST_SHOWN = 0.01


def behind_shutters(dataset: Dataset, shape: tuple[int, int]) -> NDArray[bool_] | None:
    """Return where an image ``[rows, columns]`` is behind its rectangular or circular shutter, or None without one.

    Polygons are not read. A shutter that would leave less than a hundredth of the image is not believed. Call it inside
    ``parsing``.
    """
    shapes = dataset.get("ShutterShape")
    names = shapes if isinstance(shapes, MultiValue) else () if shapes is None else (shapes,)
    hidden = np.zeros(shape, dtype=bool)
    for name in names:
        part = _SHAPES.get(str(name).strip().upper())
        outside = None if part is None else part(dataset, shape)
        if outside is not None:
            hidden |= outside
    return hidden if hidden.any() and (~hidden).mean() >= _FEWEST_SHOWN else None


def _rectangular(dataset: Dataset, shape: tuple[int, int]) -> NDArray[bool_] | None:
    edges = [decimal(dataset, keyword) for keyword in SHUTTER_KEYWORDS[1:5]]
    if any(edge is None for edge in edges):
        return None
    left, right, upper, lower = (edge or 0.0 for edge in edges)
    rows, columns = np.indices(shape, sparse=True)
    # The edges count pixels from 1.
    return np.asarray((columns < left - 1) | (columns > right - 1) | (rows < upper - 1) | (rows > lower - 1))


def _circular(dataset: Dataset, shape: tuple[int, int]) -> NDArray[bool_] | None:
    centre, radius = decimals(dataset, "CenterOfCircularShutter"), decimal(dataset, "RadiusOfCircularShutter")
    if len(centre) != 2 or not radius or radius < 0:  # noqa: PLR2004 - row and column
        return None
    rows, columns = np.indices(shape, sparse=True)
    return np.asarray(np.hypot(rows - (centre[0] - 1), columns - (centre[1] - 1)) > radius)


_SHAPES = {"RECTANGULAR": _rectangular, "CIRCULAR": _circular}
