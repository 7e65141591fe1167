"""Run a network over a grid that is larger than its patch: overlapping windows, weighted towards their centres.

What comes out is handed on plane by plane along the first axis as soon as no later window touches it. So there are
never more than ``channels x depth of a patch x plane`` values of 4 bytes, however long the grid is: for 118 channels,
patches 96 deep and planes of 256 x 256 voxels 3.0 GB, for 3 channels 75 MB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy import float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from workers.site_models.model_file import InputSection

    FloatArray = NDArray[float32]

Shape = tuple[int, int, int]
Run = Callable[["FloatArray"], "FloatArray"]
"""A network: a patch ``[a, b, c]`` to what it puts out, ``[channels, a, b, c]``."""

_SIGMA = 0.125
"""Width of the weights, as a share of the patch's side: as nnU-Net and MONAI have it."""
_LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True)
class Windows:
    """The patch on a grid's three axes, and how much of it the next one covers again."""

    patch: Shape
    overlap: float = 0.5
    outside: float = 0.0
    """Value beyond the edges of the grid, where a patch is larger."""


def patch_on(shape: Shape, wanted: InputSection) -> Shape:
    """Return the patch for a grid: that of ``model.toml``, else the whole grid rounded up to ``multiple``.

    2D networks get one plane at a time.
    """
    sides = wanted.patch or tuple(-(-side // wanted.multiple) * wanted.multiple for side in shape[-len(wanted.axes) :])
    first, second, third = (1, *sides) if len(wanted.axes) < len(shape) else sides
    return first, second, third


def slide(grid: FloatArray, run: Run, windows: Windows, *, check: Callable[[], None]) -> Iterator[FloatArray]:
    """Yield what ``run`` puts out for each plane of a grid ``[a, b, c]``, as ``[channels, b, c]``.

    ``check`` is called before each patch.
    """
    before = [max(0, side - count) // 2 for side, count in zip(windows.patch, grid.shape, strict=True)]
    inside = [slice(start, start + count) for start, count in zip(before, grid.shape, strict=True)]
    padded = _padded(grid, windows, before)
    for number, plane in enumerate(_slide(padded, run, windows, check)):
        if inside[0].start <= number < inside[0].stop:
            yield plane[:, inside[1], inside[2]]


def _padded(grid: FloatArray, windows: Windows, before: list[int]) -> FloatArray:
    missing = [max(0, side - count) for side, count in zip(windows.patch, grid.shape, strict=True)]
    if not any(missing):
        return grid
    around = [(start, lacks - start) for start, lacks in zip(before, missing, strict=True)]
    return np.pad(grid, around, constant_values=windows.outside)


def _slide(grid: FloatArray, run: Run, windows: Windows, check: Callable[[], None]) -> Iterator[FloatArray]:
    if grid.shape == windows.patch:
        check()
        yield from np.moveaxis(run(np.ascontiguousarray(grid)), 1, 0)
        return
    axes = [_Axis.over(count, side, windows.overlap) for count, side in zip(grid.shape, windows.patch, strict=True)]
    depth = windows.patch[0]
    weights = axes[0].weights[:, None, None] * axes[1].weights[:, None] * axes[2].weights
    across = axes[1].totals[:, None] * axes[2].totals
    total: FloatArray | None = None
    for start, following in zip(axes[0].starts, [*axes[0].starts[1:], grid.shape[0]], strict=True):
        for second in axes[1].starts:
            for third in axes[2].starts:
                check()
                columns = slice(second, second + windows.patch[1]), slice(third, third + windows.patch[2])
                made = run(np.ascontiguousarray(grid[start : start + depth, columns[0], columns[1]]))
                if total is None:
                    total = np.zeros((len(made), depth, *grid.shape[1:]), dtype=float32)
                total[:, :, columns[0], columns[1]] += made * weights
        if total is None:
            return
        done = following - start
        for row in range(done):
            yield total[:, row] / (across * axes[0].totals[start + row])
        total[:, : depth - done] = total[:, done:].copy()
        total[:, depth - done :] = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """Windows along one axis: where each begins, the weights in one, and the sum of all weights at each place."""

    starts: tuple[int, ...]
    weights: FloatArray
    totals: FloatArray

    @classmethod
    def over(cls, count: int, side: int, overlap: float) -> _Axis:
        """Spread windows of a side evenly over ``count`` places, overlapping by at least ``overlap``."""
        windows = 1 + math.ceil((count - side) / max(1, int(side * (1 - overlap))))
        starts = tuple(round(number * (count - side) / max(1, windows - 1)) for number in range(windows))
        from_centre = (np.arange(side) - (side - 1) / 2) / (_SIGMA * side)
        weights = np.maximum(np.exp(-0.5 * from_centre**2), _LEAST_WEIGHT) if windows > 1 else np.ones(side)
        totals = np.zeros(count)
        for start in starts:
            totals[start : start + side] += weights
        return cls(starts, weights.astype(float32), totals.astype(float32))
