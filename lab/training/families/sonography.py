"""Breast ultrasound: phantoms of layered tissue with speckle, and masses, dark, that change what lies below them.

No picture of a patient is in them. The layers are skin, fat with bright septa, gland, muscle, and what is too deep to
be seen; dark lobules of fat, shadows and the dark depth are what a network must learn not to call a mass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from lab.training import outlines
from lab.training.families.painting import Painted, blurred, cover, middle, spread, texture
from lab.training.outlines import Canvas, Shapes, some

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from lab.training.fields import FieldBank

    FloatArray = NDArray[np.float32]
    Field = NDArray[np.float64]

SHAPES = Shapes(radii=(4.0, 34.0), large=8.0, large_share=0.65, lobed_share=0.5, white_share=0.0, rough=0.4)
DEPTHS = (0.1, 0.65)
"""Between these shares of the picture's height masses are centred."""
FLUID_SHARE = 0.15
"""Share of masses that hold fluid, and echo next to nothing."""
SEEN = 0.15
"""Mean grey of the surroundings that a mass is centred in: what is darker is too deep to be seen."""


def draw(seed: int, side: int) -> FloatArray:
    """Return one phantom ``[1, side, side]`` in -1..1, fixed by its seed."""
    rng = np.random.default_rng((seed, 72))
    depth = np.linspace(0.0, 1.0, side)[:, None] + 0.06 * _smooth(rng, side, (8.0, 25.0))
    ends = np.cumsum((rng.uniform(0.01, 0.04), rng.uniform(0.08, 0.35), rng.uniform(0.1, 0.4), rng.uniform(0.05, 0.2)))
    echo = np.full((side, side), rng.uniform(0.01, 0.12)) * np.exp(0.3 * _smooth(rng, side, (4.0, 10.0)))
    layers = (_muscle, _gland, _fat, _skin)
    for end, layer in zip(ends[::-1], layers, strict=True):
        echo = np.where(depth < end, layer(rng, side), echo)
    for end in ends:
        if rng.random() < 0.6:  # noqa: PLR2004 - most borders between layers are seen
            line = np.exp(-np.square((depth - end) * side / rng.uniform(0.7, 2.0)))
            echo += line * rng.uniform(0.1, 0.8) * (0.6 + 0.4 * _smooth(rng, side, (1.0, 12.0)))
    seen = (
        np.maximum(echo, 0.003)
        * _shadows(rng, side)
        * np.exp(-rng.uniform(0.3, 5.0) * np.linspace(0, 1, side) ** rng.uniform(1.2, 2.5))[:, None]
    )
    return _displayed(seen, rng)


def _displayed(echo: Field, rng: np.random.Generator) -> FloatArray:
    """Add speckle, compress by the logarithm, and cut the width of narrow pictures."""
    side = len(echo)
    parts = rng.standard_normal((2, side, side))
    point = (rng.uniform(0.4, 0.8), rng.uniform(0.5, 1.3))
    waves = ndimage.gaussian_filter(parts, (0.0, *point))
    speckle = np.hypot(*(waves / waves.std(axis=(1, 2), keepdims=True))) / 1.25
    mixed = echo * ((1.0 - (share := rng.uniform(0.35, 1.0))) + share * speckle)
    span = rng.uniform(2.6, 4.5)
    grey = 1.0 + np.log(np.maximum(mixed, 1e-4) / np.quantile(mixed, 0.99)) / span
    grey = np.clip(grey, 0.0, 1.0) ** rng.uniform(0.8, 1.5)
    rows = round(side * rng.uniform(0.7, 1.0))
    columns = side if rng.random() < 0.8 else round(side * rng.uniform(0.55, 0.95))  # noqa: PLR2004 - few are narrow
    picture = np.zeros((side, side))
    top, left = (side - rows) // 2, (side - columns) // 2
    picture[top : top + rows, left : left + columns] = grey[:rows, :columns]
    return np.asarray(picture[None] * 2.0 - 1.0, dtype=np.float32)


def _smooth(rng: np.random.Generator, side: int, sigma: tuple[float, float]) -> Field:
    field = ndimage.gaussian_filter(rng.standard_normal((side, side)), sigma)
    return np.asarray((field - field.mean()) / field.std())


def _skin(rng: np.random.Generator, side: int) -> Field:
    return np.full((side, side), rng.uniform(0.4, 1.0)) + 0.1 * _smooth(rng, side, (1.0, 6.0))


def _fat(rng: np.random.Generator, side: int) -> Field:
    """Dark lobules between bright septa."""
    cells = _smooth(rng, side, (rng.uniform(3, 8), rng.uniform(8, 20)))
    septa = np.exp(-np.square(cells / rng.uniform(0.08, 0.25)))
    return np.asarray(
        rng.uniform(0.06, 0.25) * np.exp(0.3 * _smooth(rng, side, (3.0, 8.0))) + rng.uniform(0.1, 0.6) * septa
    )


def _gland(rng: np.random.Generator, side: int) -> Field:
    """Bright, streaky tissue with dark ducts and lobules of fat."""
    streaks = np.exp(rng.uniform(0.2, 0.8) * _smooth(rng, side, (rng.uniform(0.8, 2.0), rng.uniform(4, 14))))
    holes = 1.0 / (
        1.0 + np.exp(6.0 * (_smooth(rng, side, (rng.uniform(2, 5), rng.uniform(4, 12))) - rng.uniform(0.6, 2.0)))
    )
    return np.asarray(rng.uniform(0.2, 0.6) * streaks * (0.3 + 0.7 * holes))


def _muscle(rng: np.random.Generator, side: int) -> Field:
    """Fine stripes along the surface."""
    stripes = np.exp(rng.uniform(0.4, 1.0) * _smooth(rng, side, (rng.uniform(0.6, 1.2), rng.uniform(12, 30))))
    return np.asarray(rng.uniform(0.08, 0.35) * stripes)


def _shadows(rng: np.random.Generator, side: int) -> Field:
    """Columns that are dark from some depth on, with soft sides."""
    columns = ndimage.gaussian_filter1d(rng.standard_normal(side), rng.uniform(3.0, 12.0))
    columns = (columns - columns.mean()) / columns.std()
    dark = 1.0 / (1.0 + np.exp(-4.0 * (columns - rng.uniform(0.3, 1.9))))
    begin = np.clip((np.linspace(0, 1, side) - rng.uniform(0.0, 0.5)) * rng.uniform(2.0, 8.0), 0.0, 1.0)
    return np.asarray(np.exp(-rng.uniform(0.3, 4.5) * begin[:, None] * dark[None]))


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one mass into every picture, with what it does to the echoes below, and callipers into some."""
    side = canvas.grey.shape[-1]
    rows = torch.arange(side).view(1, 1, -1, 1) / side
    local = blurred(canvas.grey, 6.0)
    room = canvas.room & (local > SEEN) & (rows > DEPTHS[0]) & (rows < DEPTHS[1])
    where = Canvas(canvas.grey, room, room, canvas.tissue, canvas.firm)
    outline = outlines.draw(where, bank, rng, shapes=SHAPES)
    count, grey = len(canvas.grey), canvas.grey
    covered = cover(outline, spread(rng, 0.4, 2.5, count)) * (local > SEEN / 2)
    beside = (
        (local * covered).sum(dim=(2, 3), keepdim=True) / covered.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    ).clamp(min=0.15)
    level = beside * spread(rng, 0.02, 0.7, count)
    speckle = grey - local + 0.08 * texture(bank, rng, (0.7, 1.5), grey.shape)
    coarse = spread(rng, 0.0, 0.3, count) * texture(bank, rng, (2.0, 6.0), grey.shape)
    inside = level * (1.0 + coarse) + speckle * spread(rng, 0.2, 1.0, count) * (level / beside).sqrt()
    inside = torch.where(some(rng, count, FLUID_SHARE), 0.15 * inside, inside)
    painted = _below(grey, covered, rng)
    halo = torch.exp(-(outline.height * outline.radii / spread(rng, 1.0, 3.0, count)).square()) * (outline.height < 0)
    painted = painted + halo * some(rng, count, 0.4) * spread(rng, 0.05, 0.3, count)
    painted = painted + (inside - painted) * covered * spread(rng, 0.85, 1.0, count)
    masks = (middle(covered) > 0.5).float()  # noqa: PLR2004 - half covered
    return Painted(_marked(painted.clamp(0, 1), masks, rng), masks)


def _below(grey: Tensor, covered: Tensor, rng: np.random.Generator) -> Tensor:
    """Darken or brighten what lies below a mass: shadow of what absorbs sound, enhancement behind fluid."""
    count = len(grey)
    passed = covered.cumsum(dim=2) / covered.sum(dim=2, keepdim=True).amax(dim=3, keepdim=True).clamp(min=1)
    below = blurred(passed * (1.0 - covered), 1.5).clamp(0, 1)
    change = torch.where(some(rng, count, 0.5), -spread(rng, 0.1, 0.9, count), spread(rng, 0.0, 0.5, count))
    return grey * (1.0 + change * below * some(rng, count, 0.75))


def _marked(grey: Tensor, masks: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw callipers beside some masses, and crosses elsewhere: they are no sign of anything."""
    side = grey.shape[-1]
    for sample in np.flatnonzero(rng.random(len(grey)) < 0.35):  # noqa: PLR2004 - a third of the pictures have some
        places = torch.nonzero(masks[sample, 0])
        free = rng.integers(4, side - 4, (2, 2))
        ends = free if not len(places) or rng.random() < 0.4 else places[[0, -1]].numpy()  # noqa: PLR2004 - some lie elsewhere
        for y, x in ends:
            top, left = int(np.clip(y, 2, side - 3)), int(np.clip(x, 2, side - 3))
            grey[sample, :, top - 1 : top + 2, left] = 0.9
            grey[sample, :, top, left - 1 : left + 2] = 0.9
    return grey
