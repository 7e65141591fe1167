"""Smooth random fields: what roughens the shape of a painted lesion, textures it, and shades a coil."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    FloatArray = NDArray[np.float32]

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)


class FieldBank:
    """Fields with zero mean and unit variance, filtered once and cut out at random."""

    def __init__(self, rng: np.random.Generator, *, size: int = 128, count: int = 24) -> None:
        self._size = size
        self._fields = {sigma: np.stack([_field(rng, 2 * size, sigma) for _ in range(count)]) for sigma in SIGMAS}

    def draw(self, rng: np.random.Generator, sigma: float) -> FloatArray:
        """Return a field ``[size, size]`` of the bank's nearest smoothness, shifted and flipped at random."""
        nearest = min(self._fields, key=lambda known: abs(np.log(known / sigma)))
        fields = self._fields[nearest]
        field = fields[rng.integers(len(fields))]
        top, left = rng.integers(0, self._size, 2)
        cut = field[top : top + self._size, left : left + self._size]
        return np.asarray(cut[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))], dtype=np.float32)

    def batch(self, rng: np.random.Generator, sigmas: NDArray[np.float64]) -> Tensor:
        """Return a field for each smoothness in ``sigmas``: ``[n, 1, size, size]``."""
        drawn: Tensor = torch.from_numpy(np.stack([self.draw(rng, sigma) for sigma in sigmas]))
        return drawn[:, None]

    def sheaf(self, rng: np.random.Generator, sigmas: NDArray[np.float64], *, slices: int, likeness: float) -> Tensor:
        """Return fields for stacks of ``slices``, neighbours alike by ``likeness``: ``[n, slices, size, size]``."""
        shared: Tensor = self.batch(rng, sigmas)
        own: Tensor = self.batch(rng, np.repeat(sigmas, slices)).view(len(sigmas), slices, self._size, self._size)
        return shared * math.sqrt(likeness) + own * math.sqrt(1.0 - likeness)


def _field(rng: np.random.Generator, size: int, sigma: float) -> FloatArray:
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)
