"""The phantom volume: anatomy, an optional lesion, and the scanner's shading, blur and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy import bool_, float32
from numpy.typing import NDArray
from scipy import ndimage

from phantom.anatomy import Contrast, Folds, HeadAnatomy, Position, draw_head
from phantom.lesion import grow_lesion
from phantom.texture import Field, smooth_noise
from storage.volumes import Geometry

_FIELD_OF_VIEW_MM = 240.0
_CENTRE_MM = np.array([0.0, 0.0, 6.0])


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A drawn head MR: brightness 0..255 and the lesion's true mask, both ``[z, y, x]``."""

    voxels: NDArray[float32]
    mask: NDArray[bool_]
    geometry: Geometry


def head_phantom(
    *,
    seed: int,
    lesion: bool = True,
    slices: int = 24,
    size: int = 256,
    slice_mm: float = 5.0,
    oblique_degrees: float = 0.0,
    contrast: Contrast | None = None,
) -> Phantom:
    """Draw a FLAIR-like head MR of ``slices`` axial planes of ``size`` by ``size`` pixels; the same for the same seed.

    Slice 0 lies lowest, row 0 in front, column 0 at the patient's right. ``oblique_degrees`` tips the planes about
    the left-right axis; the anatomy stays where it is and is cut obliquely. The mask is empty without a lesion.
    ``contrast`` takes the place of the one that is drawn, and leaves everything else as it is.
    """
    rng = np.random.default_rng(seed)
    geometry = phantom_geometry(slices=slices, size=size, slice_mm=slice_mm, oblique_degrees=oblique_degrees)
    shape = (slices, size, size)
    drawn = Contrast.draw(rng)
    contrast = contrast or drawn
    at = _head_positions(rng, geometry, shape)
    folds = _folds(rng, geometry, shape)
    head = _draw_slices(at, folds, contrast, ventricle_scale=rng.uniform(0.7, 1.5))
    brightness, mask = head.brightness, np.zeros(shape, dtype=bool)
    if lesion:
        grown = grow_lesion(rng, at, head=head, folds=folds, contrast=contrast)
        brightness, mask = brightness + (grown.brightness - brightness) * grown.fraction, grown.mask
    return Phantom(_scan(rng, brightness, geometry), mask, geometry)


def phantom_geometry(*, slices: int, size: int, slice_mm: float, oblique_degrees: float) -> Geometry:
    """Return a grid centred on the head, its planes tipped forwards by ``oblique_degrees``."""
    tilt = math.radians(oblique_degrees)
    row, column = (1.0, 0.0, 0.0), (0.0, math.cos(tilt), -math.sin(tilt))
    normal = (0.0, math.sin(tilt), math.cos(tilt))
    pixel_mm = _FIELD_OF_VIEW_MM / size
    offset = (size - 1) / 2 * pixel_mm
    corner = _CENTRE_MM - offset * (np.array(row) + np.array(column)) - (slices - 1) / 2 * slice_mm * np.array(normal)
    origin = (float(corner[0]), float(corner[1]), float(corner[2]))
    return Geometry(origin, row, column, normal, (slice_mm, pixel_mm, pixel_mm))


def _head_positions(rng: np.random.Generator, geometry: Geometry, shape: tuple[int, int, int]) -> Position:
    """Return every voxel's position in the head's frame: nodded, scaled and warped differently for each seed."""
    counts = np.meshgrid(*(np.arange(n, dtype=float32) for n in shape), indexing="ij", sparse=True)
    directions = (geometry.slice_direction, geometry.column_direction, geometry.row_direction)
    patient = [
        sum(
            (
                count * float32(step * way[axis])
                for count, step, way in zip(counts, geometry.spacing_mm, directions, strict=True)
            ),
            np.float32(geometry.origin_mm[axis] - _CENTRE_MM[axis]),
        )
        for axis in range(3)
    ]
    turn, scale, shift = rng.normal(0, 0.035), rng.normal(1, 0.035, 3), rng.normal(0, 2.0, 3)
    x = math.cos(turn) * patient[0] - math.sin(turn) * patient[1]
    y = math.sin(turn) * patient[0] + math.cos(turn) * patient[1]
    z = patient[2]
    warps = [
        1.9 * smooth_noise(rng, geometry, shape, scale_mm=55) + 0.55 * smooth_noise(rng, geometry, shape, scale_mm=16)
        for _ in range(3)
    ]
    return (
        np.asarray(x * scale[0] + shift[0] + warps[0], float32),
        np.asarray(y * scale[1] + shift[1] + warps[1], float32),
        np.asarray(z * scale[2] + shift[2] + warps[2] + 6.0, float32),
    )


def _folds(rng: np.random.Generator, geometry: Geometry, shape: tuple[int, int, int]) -> Folds:
    gyri = smooth_noise(rng, geometry, shape, scale_mm=6.5) + 0.45 * smooth_noise(rng, geometry, shape, scale_mm=13)
    return Folds(
        gyri=np.asarray(gyri, float32),
        patches=smooth_noise(rng, geometry, shape, scale_mm=10),
        grain=smooth_noise(rng, geometry, shape, scale_mm=2.2),
    )


def _draw_slices(at: Position, folds: Folds, contrast: Contrast, *, ventricle_scale: float) -> HeadAnatomy:
    """Draw slice by slice: every step is pointwise, and one slice at a time stays in the processor's cache."""
    drawn = [
        draw_head(
            (at[0][z], at[1][z], at[2][z]),
            Folds(folds.gyri[z], folds.patches[z], folds.grain[z]),
            contrast,
            ventricle_scale=ventricle_scale,
        )
        for z in range(len(at[0]))
    ]
    return HeadAnatomy(
        brightness=np.stack([head.brightness for head in drawn]),
        brain_mm=np.stack([head.brain_mm for head in drawn]),
        ventricles_mm=np.stack([head.ventricles_mm for head in drawn]),
    )


def _scan(rng: np.random.Generator, brightness: Field, geometry: Geometry) -> Field:
    """Add what the scanner adds: coil shading, the point spread in the plane, and Rician noise."""
    shape = brightness.shape
    shading = np.exp(0.09 * smooth_noise(rng, geometry, (shape[0], shape[1], shape[2]), scale_mm=80))
    signal = ndimage.gaussian_filter(brightness * shading, sigma=(0.0, 0.55, 0.55))
    sigma = rng.uniform(1.8, 3.4)
    noise = rng.standard_normal((2, *shape), dtype=float32) * float32(sigma)
    return np.asarray(np.clip(np.hypot(signal + noise[0], noise[1]), 0, 255), dtype=float32)
