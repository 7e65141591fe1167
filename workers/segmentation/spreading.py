"""A score spread along the image's own grey: what looks the same and hangs together is scored alike.

A random walker that starts at a voxel steps to a neighbour the more readily the more alike both look, and gives up at
every step with a small chance; the spread score is the mean of the scores where such walkers end (the random walker
with priors of Grady, "Multilabel random walker image segmentation using prior models", CVPR 2005, with the score as
the prior). It solves ``(L + p) x = p s`` for score ``s``, prior ``p`` and the graph Laplacian ``L`` of the weights
``exp(-(difference of grey / LIKENESS)^2)``, grey in multiples of the tissue's. So a part of a lesion that scores little
takes after the rest of it, up to where the grey changes. Compared on labelled patients that are not for testing
(lab/notebook/0019). Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg

from workers.segmentation import edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.domain import Vector
    from workers.segmentation.edges import Look

    FloatArray = NDArray[np.float32]

LIKENESS = 0.08
"""Difference of neighbouring greys, as a share of the tissue's, at which a step is as good as none (1/e)."""
PRIOR = 0.05
"""Weight of a voxel's own score beside a step's, which is at most 1: walkers come some five pixels far."""
DENOISING_PIXELS = 0.6
"""Deviation of the Gaussian within slices that the grey is smoothed by before it is compared."""
TOLERANCE = 1e-3
LONGEST = 200
"""Steps of the solver at most; patients' stacks take about forty."""


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """How readily a walker steps from a voxel to the next one along each axis; each is one shorter there."""

    along: tuple[FloatArray, FloatArray, FloatArray]

    @classmethod
    def through(cls, grey: FloatArray, spacing_mm: Vector) -> _Steps:
        """Weigh the steps through ``grey``; those between slices count less, as these are farther apart."""
        share = min(1.0, (spacing_mm[1] / spacing_mm[0]) ** 2)
        weights = [np.exp(-np.square(np.diff(grey, axis=axis) / LIKENESS)) for axis in range(3)]
        return cls((np.float32(share) * weights[0], weights[1], weights[2]))

    def degree(self) -> FloatArray:
        """Sum the weights of all steps away from each voxel."""
        z, y, x = self.along
        total = np.zeros((z.shape[0] + 1, *z.shape[1:]), np.float32)
        for axis, weights in enumerate((z, y, x)):
            here, there = _neighbours(total, axis)
            here += weights
            there += weights
        return total

    def carried(self, values: FloatArray) -> FloatArray:
        """Give each voxel the weighted sum of its neighbours' values."""
        total = np.zeros_like(values)
        for axis, weights in enumerate(self.along):
            here, there = _neighbours(total, axis)
            before, after = _neighbours(values, axis)
            here += weights * after
            there += weights * before
        return total


def spread(scores: FloatArray, look: Look, spacing_mm: Vector) -> FloatArray:
    """Spread ``scores`` (0..1, smoothed across slices, on the model's grid) along the grey of ``look``.

    ``spacing_mm`` is the grid's. Where there is too little tissue to compare with, or nothing scores, they are returned
    as they are.
    """
    tissue = np.concatenate(look.tissue)
    level = float(np.median(tissue)) if len(tissue) >= edges.ENOUGH_PIXELS else 0.0
    if level <= 0.0 or not scores.any():
        return scores
    smooth = (0.0, DENOISING_PIXELS, DENOISING_PIXELS)
    steps = _Steps.through(ndimage.gaussian_filter(look.grey / np.float32(level), smooth), spacing_mm)
    return _solved(steps, scores)


def _solved(steps: _Steps, scores: FloatArray) -> FloatArray:
    """Solve the walkers' equation by conjugate gradients, each voxel first divided by its own weight."""
    shape, diagonal = scores.shape, steps.degree() + np.float32(PRIOR)

    def weighed(values: FloatArray) -> FloatArray:
        stack = values.reshape(shape)
        return (diagonal * stack - steps.carried(stack)).ravel()

    def divided(values: FloatArray) -> FloatArray:
        return (values.reshape(shape) / diagonal).ravel()

    size = (scores.size, scores.size)
    found, _ = cg(
        LinearOperator(size, matvec=weighed, dtype=np.float32),
        (np.float32(PRIOR) * scores).ravel(),
        x0=scores.ravel(),
        rtol=TOLERANCE,
        maxiter=LONGEST,
        M=LinearOperator(size, matvec=divided, dtype=np.float32),
    )
    return np.clip(found.reshape(shape), 0.0, 1.0).astype(np.float32)


def _neighbours(values: FloatArray, axis: int) -> tuple[FloatArray, FloatArray]:
    """View the voxels that have a next one along an axis, and those next ones."""
    first: list[slice] = [slice(None)] * 3
    second = list(first)
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return values[tuple(first)], values[tuple(second)]
