"""Phantoms of uptake that is no tumour: trunks and heads with bladder, kidneys, heart, liver, bowel and brain.

Real uptake of these organs is not at hand; a network that has never seen any calls it tumour. Stacks are grey as the
family ``pet`` frames them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from workers.segmentation.families import PET
from workers.segmentation.framing import encode_uptake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

DEPTH = 3
STEP = 1.0
"""Distance of slices, in pixels."""


def draw(seed: int, side: int = PET.side) -> FloatArray:
    """Return one phantom ``[3, side, side]`` in -1..1, fixed by its seed: a piece of head, chest, abdomen or pelvis."""
    rng = np.random.default_rng((seed, 71))
    part = rng.choice(("brain", "heart", "kidneys", "bladder", "bowel"))
    scale = side / 64
    radius = rng.uniform(20, 25) * scale if part == "brain" else rng.uniform(34, 48) * scale
    centre = np.array([side / 2, side / 2]) + rng.uniform(-10, 10, 2) * scale
    body = _ellipsoid(side, centre, (radius * rng.uniform(0.6, 0.8), radius), rng) > 0
    suv = np.where(body, rng.uniform(0.3, 0.8), 0.0) * _mottled(rng, side, 0.2)
    for organ, level, evenness in _organs(str(part), centre, radius, rng, side):
        suv = np.where(organ & body, level * _mottled(rng, side, evenness), suv)
    soft = ndimage.gaussian_filter(suv, (0.4, *(rng.uniform(0.5, 1.0),) * 2))
    noisy = np.maximum(0.0, soft * (1.0 + rng.uniform(0.03, 0.15) * rng.standard_normal(soft.shape)))
    return (encode_uptake(noisy.astype(np.float32), PET.window).clip(0, 1) * 2.0 - 1.0).astype(np.float32)


def _organs(
    part: str, centre: NDArray[np.float64], radius: float, rng: np.random.Generator, side: int
) -> list[tuple[NDArray[np.bool_], float, float]]:
    """Return where organs lie, how much they take up and how uneven they are."""
    level = float(np.exp(rng.uniform(np.log(4.0), np.log(30.0))))
    if part == "brain":
        outer = _ellipsoid(side, centre, (radius * 0.6, radius * 0.75), rng)
        return [(outer > 0, rng.uniform(3, 6), 0.25), ((outer > 0) & (outer < rng.uniform(0.15, 0.3)), level / 2, 0.2)]
    if part == "heart":
        place = centre + radius * np.array([-0.2, 0.25])
        muscle = _ellipsoid(side, place, (radius * 0.2, radius * 0.17), rng)
        chest = _ellipsoid(side, centre, (radius * 0.45, radius * 0.7), rng) > 0
        return [(chest, 0.4, 0.2), (muscle > 0, level / 2, 0.2), (muscle > rng.uniform(0.25, 0.5), 1.5, 0.1)]
    if part == "kidneys":
        liver = _ellipsoid(side, centre + radius * np.array([-0.1, -0.5]), (radius * 0.35, radius * 0.4), rng) > 0
        found = [(liver, rng.uniform(1.5, 3.0), 0.12)]
        for turn in (-1, 1):
            kidney = _ellipsoid(
                side, centre + radius * np.array([0.25, 0.4 * turn]), (radius * 0.13, radius * 0.1), rng
            )
            found.append((kidney > 0, level / rng.uniform(1, 4), 0.3))
        return found
    if part == "bladder":
        place = centre + radius * np.array([rng.uniform(-0.35, -0.1), rng.uniform(-0.05, 0.05)])
        bladder = _ellipsoid(side, place, (radius * rng.uniform(0.1, 0.2), radius * rng.uniform(0.12, 0.25)), rng) > 0
        return [(bladder, level * 1.5, 0.03)]
    loops = ndimage.gaussian_filter(rng.standard_normal((DEPTH, side, side)), (0.6, 2.0, 2.0))
    within = _ellipsoid(side, centre, (radius * 0.45, radius * 0.6), rng) > 0
    return [(within & (loops > np.quantile(loops, 0.85)), rng.uniform(1.5, 5.0), 0.3)]


def _ellipsoid(
    side: int, centre: NDArray[np.float64], radii: tuple[float, float], rng: np.random.Generator
) -> FloatArray:
    """Return 1 at the centre, 0 at the surface, negative outside, for three neighbouring slices."""
    y, x = np.mgrid[:side, :side]
    angle = rng.normal(0.0, 0.12)
    down, right = y - centre[0], x - centre[1]
    along, across = down * np.cos(angle) + right * np.sin(angle), right * np.cos(angle) - down * np.sin(angle)
    flat = np.square(along / radii[0]) + np.square(across / radii[1])
    lifts = (np.arange(DEPTH) - 1) * STEP / max(radii) + rng.uniform(-0.3, 0.3)
    return np.asarray(1.0 - np.sqrt(flat[None] + np.square(lifts)[:, None, None]), dtype=np.float32)


def _mottled(rng: np.random.Generator, side: int, share: float) -> NDArray[np.float64]:
    field = ndimage.gaussian_filter(rng.standard_normal((DEPTH, side, side)), (0.6, 1.5, 1.5))
    return np.asarray(np.exp(share * field / field.std()))
