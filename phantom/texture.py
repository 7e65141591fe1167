"""Smooth random fields, the raw material of everything in the phantom that is not a plain shape."""

from __future__ import annotations

import numpy as np
from numpy import float32
from numpy.typing import NDArray

from storage.volumes import Geometry, Vector

Field = NDArray[float32]


def smooth_noise(
    rng: np.random.Generator, geometry: Geometry, shape: tuple[int, int, int], *, scale_mm: float
) -> Field:
    """Draw a random field ``[z, y, x]`` of mean 0 and deviation 1 that varies over about ``scale_mm``.

    A coarse grid of normal numbers is interpolated by uniform cubic B-splines, one axis at a time, so that the cost
    is three matrix products.
    """
    bases = [
        _spline_basis(count, spacing / scale_mm) for count, spacing in zip(shape, geometry.spacing_mm, strict=True)
    ]
    coarse = rng.standard_normal([basis.shape[1] for basis in bases], dtype=float32)
    field = np.einsum("zi,ijk->zjk", bases[0], coarse)
    field = np.matmul(bases[1], field)
    field = np.matmul(field, bases[2].T)
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), dtype=float32)


def _spline_basis(count: int, step: float) -> Field:
    """Return the weights ``[count, knots]`` of the cubic B-spline at ``count`` samples ``step`` knots apart."""
    position = np.arange(count) * step
    knots = np.arange(int(position[-1]) + 4)
    distance = np.abs(position[:, None] + 1.0 - knots[None, :])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), dtype=float32)


def soft_step(signed_mm: Field, *, width_mm: float) -> Field:
    """Return 0 well outside, 1 well inside and 0.5 at zero, for a signed distance that is positive inside."""
    return np.asarray(0.5 + 0.5 * np.tanh(signed_mm * float32(1.0 / width_mm)), dtype=float32)


def ellipsoid(at: tuple[Field, Field, Field], centre: Vector, half_axes: Vector) -> Field:
    """Return the approximate signed distance in millimetres to an ellipsoid's surface, positive inside.

    ``at`` holds x, y and z; the distance is exact to first order at the surface.
    """
    scaled = [(axis - float32(c)) / float32(h) for axis, c, h in zip(at, centre, half_axes, strict=True)]
    radius = np.sqrt(sum((s * s for s in scaled), np.full_like(at[0], 1e-6)))
    slope = np.sqrt(sum(((s / float32(h)) ** 2 for s, h in zip(scaled, half_axes, strict=True)), np.float32(1e-9)))
    return np.asarray((1 - radius) * radius / slope, dtype=float32)
