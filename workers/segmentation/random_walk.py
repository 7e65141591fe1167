"""Even out a score where the image looks alike, with random walkers that cross changes of grey only rarely.

A walker starts at a voxel. At each step it moves to a neighbour, more readily the more alike the two greys are, or it
stops, with a small chance. The new score of the voxel is the mean score of the voxels where its walkers stop. A part of
a lesion that scores little thus takes on the score of the rest, up to where the grey changes.

This is the random walker with priors (Grady, "Multilabel random walker image segmentation using prior models", CVPR
2005), with the score as the prior. It solves ``(L + p) x = p s`` for score ``s``, prior weight ``p`` and the graph
Laplacian ``L`` of the weights ``exp(-(difference of grey / LIKENESS)^2)``, greys being multiples of the tissue's. The
constants were compared on labelled patients that are not for testing (lab/notebook/0019). Arrays are ``[z, y, x]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from scipy.sparse.linalg import LinearOperator, cg

from workers.segmentation.edges import ENOUGH_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.volumes import Vector
    from workers.segmentation.edges import ImageGreys

    FloatArray = NDArray[np.float32]

LIKENESS = 0.08
"""Difference of neighbouring greys, as a share of the tissue's, at which the weight of a step has fallen to 1/e."""
PRIOR = 0.05
"""Weight of stopping; a step's is at most 1. In even grey walkers come some five pixels far."""
DENOISING_PIXELS = 0.6
"""Deviation of the Gaussian within slices that the grey is smoothed by before it is compared."""
TOLERANCE = 1e-3
MOST_ITERATIONS = 200
"""Most iterations of the solver; patients' stacks take about forty."""


@dataclass(frozen=True, slots=True)
class Walk:
    """How far walkers go: as ``LIKENESS``, but of grey 0..1, and as ``PRIOR``: with 0.005 some fourteen pixels."""

    likeness: float
    prior: float


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """Weights of the steps between neighbours along each axis; an array is one voxel shorter along its own axis."""

    along: tuple[FloatArray, FloatArray, FloatArray]

    @classmethod
    def through(cls, grey: FloatArray, spacing_mm: Vector, likeness: float) -> _Steps:
        """Return the weights for ``grey``; between slices they are less, by the square of the ratio of spacings."""
        share = min(1.0, (spacing_mm[1] / spacing_mm[0]) ** 2)
        weights = [np.exp(-np.square(np.diff(grey, axis=axis) / likeness)) for axis in range(3)]
        return cls((np.float32(share) * weights[0], weights[1], weights[2]))

    def degree(self) -> FloatArray:
        """Return the sum of the weights of all steps away from each voxel."""
        z, y, x = self.along
        total = np.zeros((z.shape[0] + 1, *z.shape[1:]), np.float32)
        for axis, weights in enumerate((z, y, x)):
            here, there = _neighbours(total, axis)
            here += weights
            there += weights
        return total

    def weighted_neighbours(self, values: FloatArray) -> FloatArray:
        """Return for each voxel the weighted sum of its neighbours' values."""
        total = np.zeros_like(values)
        for axis, weights in enumerate(self.along):
            here, there = _neighbours(total, axis)
            before, after = _neighbours(values, axis)
            here += weights * after
            there += weights * before
        return total


def spread(scores: FloatArray, greys: ImageGreys, spacing_mm: Vector) -> FloatArray:
    """Return ``scores`` (0..1, smoothed across slices, on the model's grid) evened out where the grey is alike.

    ``spacing_mm`` is the grid's. Where there is too little tissue to compare with, or nothing scores, ``scores`` is
    returned as it is.
    """
    tissue = np.concatenate(greys.tissue)
    level = float(np.median(tissue)) if len(tissue) >= ENOUGH_PIXELS else 0.0
    if level <= 0.0 or not scores.any():
        return scores
    smooth = (0.0, DENOISING_PIXELS, DENOISING_PIXELS)
    steps = _Steps.through(ndimage.gaussian_filter(greys.grey / np.float32(level), smooth), spacing_mm, LIKENESS)
    return _solved(steps, scores, PRIOR)


def spread_far(scores: FloatArray, grey: FloatArray, spacing_mm: Vector, walk: Walk) -> FloatArray:
    """Return ``scores`` evened out along ``grey`` (0..1), of the same shape, by walkers with settings of their own."""
    smooth = ndimage.gaussian_filter(grey, (0.0, DENOISING_PIXELS, DENOISING_PIXELS))
    return _solved(_Steps.through(smooth, spacing_mm, walk.likeness), scores, walk.prior)


def _solved(steps: _Steps, scores: FloatArray, prior: float) -> FloatArray:
    """Return the solution ``x`` by conjugate gradients, preconditioned by the diagonal of ``L + p``."""
    shape, diagonal = scores.shape, steps.degree() + np.float32(prior)

    def left_side(values: FloatArray) -> FloatArray:
        stack = values.reshape(shape)
        return (diagonal * stack - steps.weighted_neighbours(stack)).ravel()

    def preconditioned(values: FloatArray) -> FloatArray:
        return (values.reshape(shape) / diagonal).ravel()

    size = (scores.size, scores.size)
    found, _ = cg(
        LinearOperator(size, matvec=left_side, dtype=np.float32),
        (np.float32(prior) * scores).ravel(),
        x0=scores.ravel(),
        rtol=TOLERANCE,
        maxiter=MOST_ITERATIONS,
        M=LinearOperator(size, matvec=preconditioned, dtype=np.float32),
    )
    return np.clip(found.reshape(shape), 0.0, 1.0).astype(np.float32)


def _neighbours(values: FloatArray, axis: int) -> tuple[FloatArray, FloatArray]:
    """Return views of all voxels but the last along an axis, and of all but the first."""
    first: list[slice] = [slice(None)] * 3
    second = list(first)
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return values[tuple(first)], values[tuple(second)]
