"""The healthy head: which tissue lies where, and how bright FLAIR shows it.

Positions are millimetres in the head's own frame: x to the patient's left, y to the back, z to the top, with the
origin between the lateral ventricles. Every structure is a signed distance, positive inside, blended with soft edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import float32

from phantom.texture import Field, ellipsoid, soft_step
from storage.volumes import Vector

Position = tuple[Field, Field, Field]

_SKIN_MM = 2.2
_SKULL_MM = 6.5
_MARROW_MM = 8.6
_INNER_TABLE_MM = 10.4
_BRAIN_MM = 12.6


@dataclass(frozen=True, slots=True)
class Contrast:
    """How bright each tissue is, on the scale of an 8-bit picture."""

    white: float
    grey: float
    fluid: float
    fat: float
    bone: float = 9.0
    air: float = 3.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Contrast:
        """Draw one scanner's contrast."""
        white = rng.uniform(48, 68)
        return cls(
            white=white,
            grey=white * rng.uniform(1.18, 1.34),
            fluid=rng.uniform(8, 18),
            fat=rng.uniform(135, 190),
        )


@dataclass(frozen=True, slots=True, eq=False)
class HeadAnatomy:
    """The drawn head: its brightness, and the two fields that a lesion is placed by.

    ``brain_mm`` is the depth below the brain's surface, negative outside; ``ventricles_mm`` is positive in fluid.
    """

    brightness: Field
    brain_mm: Field
    ventricles_mm: Field


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Random fields ``[z, y, x]`` of deviation 1 that give tissue its structure, from coarse to fine."""

    gyri: Field
    patches: Field
    grain: Field


def draw_head(at: Position, folds: Folds, contrast: Contrast, *, ventricle_scale: float) -> HeadAnatomy:
    """Draw the head at every position: shell, face and skull base, then brain, then its cavities."""
    depth = _head_depth(at)
    brain = _brain_depth(at, depth)
    ventricles = _ventricles(at, ventricle_scale)
    brightness = _shell(depth, folds, contrast)
    brightness = _blend(brightness, _face(at, folds, contrast), _face_distance(at, depth), width_mm=1.2)
    inside = _tissue(at, brain, folds, contrast)
    rim = np.exp(-(((ventricles + 1.5) / 2.0) ** 2)) * float32(0.12 * contrast.white)
    inside = _blend(inside + rim, _constant(at, contrast.fluid), ventricles, width_mm=0.9)
    moat = _blend(brightness, _constant(at, contrast.fluid), brain + 2.2, width_mm=0.9)
    return HeadAnatomy(_blend(moat, inside, brain, width_mm=0.8), brain, ventricles)


def _blend(outside: Field, inside: Field, signed_mm: Field, *, width_mm: float) -> Field:
    return np.asarray(outside + (inside - outside) * soft_step(signed_mm, width_mm=width_mm), dtype=float32)


def _constant(at: Position, value: float) -> Field:
    return np.full_like(at[0], value)


def _union(*distances: Field) -> Field:
    return np.asarray(np.maximum.reduce(distances), dtype=float32)


def _both_sides(at: Position, centre: Vector, half_axes: Vector) -> Field:
    return ellipsoid((np.abs(at[0]), at[1], at[2]), centre, half_axes)


def _head_depth(at: Position) -> Field:
    """Return millimetres below the skin; the head closes at the top and goes on into the neck."""
    x, y, z = at
    narrowing = 1 - 0.0016 * np.clip(-y, 0, None)
    upper = np.where(z > 0, z, z * float32(0.42))
    return ellipsoid((np.asarray(x / narrowing, float32), y, upper), (0, 2, 0), (77, 95, 74))


def _shell(depth: Field, folds: Folds, contrast: Contrast) -> Field:
    """Return skin, fat, outer table, marrow and inner table by depth."""
    layers = (
        (0.0, contrast.fat * 0.55),
        (_SKIN_MM, contrast.fat),
        (_SKULL_MM, contrast.bone),
        (_MARROW_MM, contrast.white * 0.8),
        (_INNER_TABLE_MM, contrast.bone),
    )
    brightness = np.full_like(depth, contrast.air)
    for start_mm, value in layers:
        textured = np.asarray(value * (1 + 0.10 * folds.patches + 0.05 * folds.grain), float32)
        brightness = _blend(brightness, textured, depth + folds.patches * 0.4 - float32(start_mm), width_mm=0.7)
    return brightness


def _face_distance(at: Position, depth: Field) -> Field:
    """Return how far inside the region between skin and skull base a position lies."""
    base = np.asarray(-27 - 0.09 * at[1] - at[2], float32)
    return np.asarray(np.minimum(depth - 7, base), float32)


def _face(at: Position, folds: Folds, contrast: Contrast) -> Field:
    """Return muscle, bone, fat and air of the face and skull base, and the eyes."""
    muscle = np.asarray(contrast.white * (0.75 + 0.22 * folds.patches + 0.12 * folds.grain), float32)
    bone = _blend(muscle, _constant(at, contrast.bone), (folds.gyri - 0.15) * 3, width_mm=1.0)
    fatty = _blend(bone, _constant(at, contrast.fat * 0.9), (folds.patches - 1.0) * 3, width_mm=1.2)
    orbits = _both_sides(at, (30, -58, -34), (17, 26, 16))
    face = _blend(fatty, _constant(at, contrast.fat * 0.95), orbits, width_mm=1.0)
    eyes = _both_sides(at, (31, -66, -33), (12, 12, 12))
    face = _blend(face, _constant(at, contrast.white * 0.9), eyes + 1.2, width_mm=0.6)
    face = _blend(face, _constant(at, contrast.fluid * 1.5), eyes, width_mm=0.7)
    cavities = _union(
        _both_sides(at, (5, -66, -44), (3.6, 30, 20)),
        _both_sides(at, (27, -48, -58), (14, 17, 13)),
        _both_sides(at, (50, 20, -46), (9, 14, 12)) + folds.gyri * 3,
    )
    return _blend(face, _constant(at, contrast.air), cavities, width_mm=0.8)


def _brain_depth(at: Position, depth: Field) -> Field:
    """Return millimetres below the brain's surface: cerebrum, temporal lobes, cerebellum and stem."""
    y, z = at[1], at[2]
    floor = np.asarray(z + 24 + 0.09 * y, float32)
    cerebrum = np.minimum(depth - float32(_BRAIN_MM), floor)
    temporal = _both_sides(at, (41, -14, -30), (25, 37, 25))
    cerebellum = ellipsoid(at, (0, 46, -35), (52, 38, 29))
    stem = ellipsoid(at, (0, 12, -42), (15, 14, 48))
    lower = np.minimum(_union(temporal, cerebellum, stem), depth - float32(_BRAIN_MM))
    return _union(np.asarray(cerebrum, float32), np.asarray(lower, float32))


def _tissue(at: Position, brain: Field, folds: Folds, contrast: Contrast) -> Field:
    """Return white matter with deep nuclei, a folded cortex, sulci and the fissure between the hemispheres."""
    grain = 0.060 * folds.grain + 0.035 * folds.patches
    white = np.asarray(contrast.white * (1 + grain), float32)
    grey = np.asarray(contrast.grey * (1 + grain), float32)
    fold = np.abs(folds.gyri)
    reach = soft_step(np.asarray(19 - brain, float32), width_mm=5.0)
    ribbon = _union(np.asarray(3.6 - brain, float32), np.asarray((0.42 - fold) * 6 * reach - (1 - reach) * 4, float32))
    tissue = _blend(white, grey, ribbon, width_mm=1.1)
    tissue = _blend(tissue, grey, _nuclei(at), width_mm=1.3)
    opening = np.clip(0.16 - 0.006 * brain, 0.03, 0.20)
    sulci = np.asarray((opening - fold) * 7 - np.clip(brain - 15, 0, None) * 0.4, float32)
    tissue = _blend(tissue, _constant(at, contrast.fluid + 0.22 * contrast.white), sulci, width_mm=0.55)
    return _blend(tissue, _constant(at, contrast.fluid), _fissures(at, brain, folds), width_mm=0.6)


def _nuclei(at: Position) -> Field:
    return _union(
        _both_sides(at, (10, 9, 2), (8, 14, 9)),
        _both_sides(at, (25, -4, 2), (6, 17, 10)),
        _both_sides(at, (16, -19, 11), (4, 12, 10)),
    )


def _fissures(at: Position, brain: Field, folds: Folds) -> Field:
    """Return the gap between the hemispheres (not through the callosum) and the Sylvian fissures."""
    x, y, z = at
    callosum = ellipsoid(at, (0, 0, 4), (30, 42, 24))
    midline = np.minimum(0.9 - np.abs(x + 0.7 * folds.patches), -callosum)
    midline = np.minimum(midline, z + 20)
    # Bent by the folds, as sulci are: straight ones would be the most conspicuous lines of the picture.
    bent = (np.asarray(x + 2.0 * folds.gyri, float32), np.asarray(y + 5.0 * folds.gyri, float32), z)
    sylvian = _both_sides(bent, (50, -8, -4), (12, 2.2, 6)) - 0.4
    insula = _both_sides(bent, (36, -2, 2), (1.4, 16, 9)) - 0.4
    lateral = np.minimum(np.maximum(sylvian, insula), brain + 2)
    return _union(np.asarray(midline, float32), np.asarray(lateral, float32))


def _ventricles(at: Position, scale: float) -> Field:
    """Return the lateral, third and fourth ventricles; ``scale`` widens them with age."""
    x, y, z = at
    bent = (np.asarray(np.abs(x) - 0.010 * (y - 4) ** 2, float32), y, z)
    lateral = _union(
        ellipsoid(bent, (8, -20, 10), (4.6 * scale, 14, 9)),
        ellipsoid(bent, (11, 2, 17), (5.0 * scale, 26, 7)),
        ellipsoid(bent, (16, 30, 7), (5.0 * scale, 13, 9)),
    )
    third = ellipsoid(at, (0, 4, -3), (2.0 * scale, 13, 9))
    fourth = ellipsoid(at, (0, 29, -38), (6 * scale, 4.5, 9))
    return _union(lateral, third, fourth)
