"""Breast ultrasound: phantoms of layered tissue, with everything dark in it that is no mass.

No picture of a patient is in them. The layers are skin, fat with bright septa, gland, muscle, and what is too deep to
be seen; lobules of fat, ribs, shadows and the dark depth are what a network must learn not to call a mass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]
    Field = NDArray[np.float64]

RIBS, LOBULES, NARROW = 0.25, 0.6, 0.1
"""Shares of phantoms with ribs, with dark lobules in their fat, and that do not fill the width."""
LOOSE = 0.3
"""Share of either side of the picture that the probe does not touch well."""
SOFTEST = 1e-4
"""Echo below which nothing is shown."""


def draw(seed: int, side: int) -> FloatArray:
    """Return one phantom ``[1, side, side]`` in -1..1, fixed by its seed."""
    rng = np.random.default_rng((seed, 72))
    depth = np.linspace(0.0, 1.0, side)[:, None] + 0.06 * _smooth(rng, side, (8.0, 25.0))
    ends = np.cumsum((rng.uniform(0.01, 0.05), rng.uniform(0.08, 0.4), rng.uniform(0.1, 0.5), rng.uniform(0.05, 0.25)))
    echo = np.full((side, side), rng.uniform(0.02, 0.12)) * np.exp(0.3 * _smooth(rng, side, (4.0, 10.0)))
    for end, layer in zip(ends[::-1], (_muscle, _gland, _fat, _skin), strict=True):
        edge = 1.0 / (1.0 + np.exp((depth - end) * side / rng.uniform(0.5, 3.0)))
        echo = echo + (layer(rng, side) - echo) * edge
    for end in ends:
        if rng.random() < 0.6:  # noqa: PLR2004 - most borders between layers are seen
            line = np.exp(-np.square((depth - end) * side / rng.uniform(0.7, 2.0)))
            echo += line * rng.uniform(0.1, 0.8) * (0.6 + 0.4 * _smooth(rng, side, (1.0, 12.0)))
    echo = _fibres(np.maximum(echo, 0.003), rng)
    if rng.random() < RIBS:
        echo = _ribs(echo, float(ends[-1]), rng)
    fading = rng.uniform(0.0, 4.0) * np.linspace(0, 1, side) ** rng.uniform(1.2, 3.5)
    return _displayed(echo * _shadows(rng, side) * np.exp(-fading)[:, None], rng)


def _displayed(echo: Field, rng: np.random.Generator) -> FloatArray:
    """Add speckle, compress by the logarithm, and cut what is higher or wider than the display."""
    side = len(echo)
    parts = rng.standard_normal((2, side, side))
    waves = ndimage.gaussian_filter(parts, (0.0, rng.uniform(0.3, 0.7), rng.uniform(0.4, 1.1)))
    speckle = np.hypot(*(waves / waves.std(axis=(1, 2), keepdims=True))) / 1.25
    mixed = echo * ((1.0 - (share := rng.uniform(0.1, 0.9))) + share * speckle)
    span = rng.uniform(2.6, 5.0)
    grey = 1.0 + np.log(np.maximum(mixed, SOFTEST) / np.quantile(mixed, 0.99)) / span
    grey = np.clip(grey, 0.0, 1.0) ** rng.uniform(0.8, 1.6)
    grey = ndimage.gaussian_filter(grey, rng.uniform(0.0, 0.6))
    rows = round(side * rng.uniform(0.55, 1.0))
    columns = round(side * rng.uniform(0.6, 0.95)) if rng.random() < NARROW else side
    picture = np.zeros((side, side))
    top, left = (side - rows) // 2, (side - columns) // 2
    picture[top : top + rows, left : left + columns] = grey[:rows, :columns]
    return np.asarray(picture[None] * 2.0 - 1.0, dtype=np.float32)


def _smooth(rng: np.random.Generator, side: int, sigma: tuple[float, float]) -> Field:
    field = ndimage.gaussian_filter(rng.standard_normal((side, side)), sigma)
    return np.asarray((field - field.mean()) / field.std())


def _ridges(rng: np.random.Generator, side: int, sigma: tuple[float, float], width: float) -> Field:
    """Return thin lines, 1 along their middle, where a smooth field crosses zero."""
    return np.asarray(np.exp(-np.square(_smooth(rng, side, sigma) / width)))


def _fibres(echo: Field, rng: np.random.Generator) -> Field:
    """Lay bright, wavy fibres over all tissue, coarse and fine ones, here more and there less of them."""
    side = len(echo)
    for _ in range(rng.integers(1, 4)):
        lines = _ridges(rng, side, (rng.uniform(1.2, 4.0), rng.uniform(5, 25)), rng.uniform(0.08, 0.4))
        here = 1.0 / (1.0 + np.exp(-2.0 * _smooth(rng, side, (12.0, 20.0))))
        echo = echo * (1.0 + rng.uniform(0.3, 2.5) * lines * here)
    return echo


def _ribs(echo: Field, below: float, rng: np.random.Generator) -> Field:
    """Draw convex bright surfaces of ribs below the muscle, and the darkness behind them."""
    side = len(echo)
    down, across = np.mgrid[:side, :side] / side
    for centre in np.arange(rng.uniform(-0.3, 0.4), 1.2, rng.uniform(0.4, 0.9)):
        half = rng.uniform(0.08, 0.2)
        from_middle = (across - centre) / half
        top = min(below, 0.9) + rng.uniform(-0.1, 0.1) + rng.uniform(0.03, 0.1) * np.square(from_middle)
        within = np.abs(from_middle) < 1.0
        behind = np.clip((down - top) * side + 0.5, 0.0, 1.0) * within
        echo = echo * (1.0 - rng.uniform(0.6, 0.98) * behind)
        line = np.exp(-np.square((down - top) * side / rng.uniform(0.8, 2.0))) * within
        echo = echo + rng.uniform(0.2, 1.0) * line
    return echo


def _skin(rng: np.random.Generator, side: int) -> Field:
    return np.full((side, side), rng.uniform(0.4, 1.0)) + 0.1 * _smooth(rng, side, (1.0, 6.0))


def _fat(rng: np.random.Generator, side: int) -> Field:
    """Dark tissue between bright septa, with rounded lobules that are darker still."""
    septa = _ridges(rng, side, (rng.uniform(3, 8), rng.uniform(8, 20)), rng.uniform(0.08, 0.25))
    level = rng.uniform(0.08, 0.35) * np.exp(0.3 * _smooth(rng, side, (3.0, 8.0)))
    if rng.random() < LOBULES:
        cells = _smooth(rng, side, (rng.uniform(4, 8), rng.uniform(7, 16)))
        lobules = 1.0 / (1.0 + np.exp(-rng.uniform(4, 12) * (cells - rng.uniform(0.3, 1.2))))
        level = level * (1.0 - rng.uniform(0.2, 0.6) * lobules)
        septa = np.maximum(septa, np.exp(-np.square((cells - 0.2) / 0.15)) * rng.uniform(0.0, 0.8))
    return np.asarray(level + rng.uniform(0.1, 0.6) * septa)


def _gland(rng: np.random.Generator, side: int) -> Field:
    """Bright, streaky tissue with dark ducts and lobules of fat."""
    streaks = np.exp(rng.uniform(0.2, 0.8) * _smooth(rng, side, (rng.uniform(0.8, 2.0), rng.uniform(4, 14))))
    holes = 1.0 / (
        1.0 + np.exp(6.0 * (_smooth(rng, side, (rng.uniform(1.5, 4), rng.uniform(4, 14))) - rng.uniform(0.6, 2.0)))
    )
    return np.asarray(rng.uniform(0.2, 0.6) * streaks * (0.3 + 0.7 * holes))


def _muscle(rng: np.random.Generator, side: int) -> Field:
    """Fine stripes along the surface."""
    stripes = np.exp(rng.uniform(0.4, 1.0) * _smooth(rng, side, (rng.uniform(0.6, 1.2), rng.uniform(12, 30))))
    return np.asarray(rng.uniform(0.08, 0.35) * stripes)


def _shadows(rng: np.random.Generator, side: int) -> Field:
    """Columns that are dark from some depth on, with soft sides; some lie where the probe has lost contact."""
    columns = ndimage.gaussian_filter1d(rng.standard_normal(side), rng.uniform(3.0, 14.0))
    columns = (columns - columns.mean()) / columns.std()
    dark = 1.0 / (1.0 + np.exp(-4.0 * (columns - rng.uniform(0.3, 2.2))))
    begin = np.clip((np.linspace(0, 1, side) - rng.uniform(0.0, 0.5)) * rng.uniform(2.0, 8.0), 0.0, 1.0)
    passed = np.exp(-rng.uniform(0.3, 4.0) * begin[:, None] * dark[None])
    for side_of in (slice(None), slice(None, None, -1)):
        if rng.random() < LOOSE:
            from_edge = np.linspace(0, 1, side)[side_of] / rng.uniform(0.05, 0.3)
            passed = passed * (1.0 - rng.uniform(0.4, 0.97) * np.exp(-np.square(from_edge)) * begin[:, None])
    return np.asarray(passed)
