"""Drawn CT of an upper abdomen: a body, a liver, and a tumour in it, on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import bool_, float32, float64, uint8
from numpy.typing import NDArray

from storage.uids import deterministic_uid
from storage.volumes import FrameRef, Geometry, Volume

LIVER, TUMOUR = 1, 2
SHAPE = (36, 48, 48)
SPACING_MM = (5.0, 5.0, 5.0)


@dataclass(frozen=True, slots=True)
class Grid:
    """Where a phantom is drawn: unit directions along z, y, x in LPS, spacing and size; centred on the body."""

    directions: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    spacing_mm: tuple[float, float, float] = SPACING_MM
    shape: tuple[int, int, int] = SHAPE

    @property
    def geometry(self) -> Geometry:
        """Return it as a volume has it."""
        origin = -sum(
            np.array(direction) * spacing * (size - 1) / 2
            for direction, spacing, size in zip(self.directions, self.spacing_mm, self.shape, strict=True)
        )
        z, y, x = self.directions
        first: tuple[float, float, float] = tuple(float(value) for value in np.asarray(origin))  # type: ignore[assignment]  # three of them, which mypy cannot count
        return Geometry(first, _three(x), _three(y), _three(z), self.spacing_mm)


AXIAL = Grid()
FLIPPED = Grid(directions=((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0)))
SAGITTAL = Grid(directions=((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)), shape=(48, 36, 48))
OBLIQUE = Grid(
    directions=((0.0, 0.28, 0.96), (0.0, 0.96, -0.28), (1.0, 0.0, 0.0)), spacing_mm=(6.0, 3.0, 3.0), shape=(32, 80, 80)
)
ANISOTROPIC = Grid(spacing_mm=(7.5, 2.5, 2.5), shape=(24, 96, 96))


@dataclass(frozen=True, slots=True, eq=False)
class DrawnCT:
    """A drawn volume and its true labels, both ``[z, y, x]``."""

    volume: Volume
    truth: NDArray[uint8]


def draw(seed: int, grid: Grid = AXIAL, *, modality: str = "CT", sick: bool = True) -> DrawnCT:
    """Draw a body with a liver at the patient's right and a tumour in it; one seed is one patient on every grid.

    Without ``sick`` the liver is healthy.
    """
    rng = np.random.default_rng(seed)
    at = _positions(grid)
    centre = np.array([-45.0, -5.0, 5.0]) + rng.uniform(-10, 10, 3)
    radii = np.array([48.0, 55.0, 45.0]) * rng.uniform(0.85, 1.1, 3)
    offset = rng.uniform(-0.35, 0.35, 3) * radii
    radius = rng.uniform(13.0, 20.0)
    hu = np.full(grid.shape, -1000.0, dtype=float32)
    hu[_within(at, np.zeros(3), np.array([105.0, 90.0, 1000.0]))] = 20.0
    hu[_within(at, np.array([0.0, 60.0, 0.0]), np.array([15.0, 15.0, 1000.0]))] = 400.0
    liver, tumour = _within(at, centre, radii), _within(at, centre + offset, np.full(3, radius)) & sick
    hu[liver], hu[tumour] = 80.0, 200.0
    hu += rng.normal(0, 12, grid.shape).astype(float32)
    truth = np.where(tumour, TUMOUR, np.where(liver, LIVER, 0)).astype(uint8)
    return DrawnCT(_volume(hu.round().astype(float32), grid, seed, modality), truth)


def dice(found: NDArray[bool_], true: NDArray[bool_]) -> float:
    """Return the Dice coefficient."""
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def _volume(voxels: NDArray[float32], grid: Grid, seed: int, modality: str) -> Volume:
    study, series = (deterministic_uid(f"drawn-ct-{part}", str(seed)) for part in ("study", "series"))
    frames = tuple(FrameRef(deterministic_uid("drawn", str(z)), "1.2", None, "0" * 64) for z in range(len(voxels)))
    return Volume(voxels, grid.geometry, modality, study, series, None, frames)


def _positions(grid: Grid) -> NDArray[float64]:
    """Return where each voxel lies, ``[3, z, y, x]`` in LPS millimetres."""
    steps = np.array(grid.directions) * np.array(grid.spacing_mm)[:, None]
    numbers = np.indices(grid.shape).reshape(3, -1)
    places = np.array(grid.geometry.origin_mm)[:, None] + steps.T @ numbers
    return np.asarray(places.reshape(3, *grid.shape))


def _within(at: NDArray[float64], centre: NDArray[float64], radii: NDArray[float64]) -> NDArray[bool_]:
    parts = ((at - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2
    return np.asarray(parts.sum(axis=0) <= 1)


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
