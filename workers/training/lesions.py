"""Synthetic lesions painted on tumour-free slices: the only "tumours" that the anomaly side is trained on.

Shapes are ellipses roughened by smooth random fields, alone or with a core or a rim of another level; edges are soft,
tissue shows through, and sulci may be spared. Everything is drawn from one generator, so a seed fixes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float32]

CLEAN_SHARE = 0.2
DARK_SHARE = 0.2
MIXED_SHARE = 0.3
"""Share of lesions with a core or a rim of another level."""
RADII = (3.0, 27.0)
"""Smallest and largest mean radius in pixels, drawn log-uniformly."""


class Finding(StrEnum):
    """How a painted lesion differs from the tissue around it, and so which prompts name it."""

    NONE = "none"
    BRIGHT = "bright"
    DARK = "dark"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """A slice ``[y, x]`` in -1..1 with lesions painted in, where they are, and of what sort they are."""

    image: FloatArray
    mask: NDArray[np.bool_]
    finding: Finding


class FieldBank:
    """Smooth random fields with zero mean and unit variance, filtered once and cut out at random."""

    def __init__(self, rng: np.random.Generator, *, size: int = 128, count: int = 24) -> None:
        self._size = size
        self._fields = {
            sigma: np.stack([_field(rng, 2 * size, sigma) for _ in range(count)])
            for sigma in (1.0, 2.0, 4.0, 8.0, 16.0)
        }

    def draw(self, rng: np.random.Generator, sigma: float) -> FloatArray:
        """Cut one field of the bank's nearest smoothness, shifted and flipped at random."""
        nearest = min(self._fields, key=lambda known: abs(np.log(known / sigma)))
        fields = self._fields[nearest]
        field = fields[rng.integers(len(fields))]
        top, left = rng.integers(0, self._size, 2)
        cut = field[top : top + self._size, left : left + self._size]
        return np.asarray(cut[:: rng.choice((-1, 1)), :: rng.choice((-1, 1))], dtype=np.float32)


def _field(rng: np.random.Generator, size: int, sigma: float) -> FloatArray:
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def paint(image: FloatArray, head: NDArray[np.bool_], bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one or two lesions into a copy of ``image``; a fifth of the slices stays clean."""
    empty = Painted(image, np.zeros(image.shape, dtype=bool), Finding.NONE)
    room = ndimage.binary_erosion(head, iterations=int(rng.integers(5, 11)))
    if rng.random() < CLEAN_SHARE or room.sum() < 150:  # noqa: PLR2004 - less than a thumb's width of brain
        return empty
    finding = _draw_finding(rng)
    grey = (image + 1.0) / 2.0
    mask = np.zeros(image.shape, dtype=bool)
    for _ in range(1 if rng.random() < 0.8 else 2):  # noqa: PLR2004 - one slice in five has two lesions
        grey, painted = _paint_one(grey, room, finding, bank=bank, rng=rng)
        mask |= painted
    if not mask.any():
        return empty
    return Painted(np.asarray(np.clip(grey, 0.0, 1.0) * 2.0 - 1.0, dtype=np.float32), mask, finding)


def _draw_finding(rng: np.random.Generator) -> Finding:
    drawn = rng.random()
    if drawn < DARK_SHARE:
        return Finding.DARK
    return Finding.MIXED if drawn < DARK_SHARE + MIXED_SHARE else Finding.BRIGHT


def _paint_one(
    grey: FloatArray, room: NDArray[np.bool_], finding: Finding, *, bank: FieldBank, rng: np.random.Generator
) -> tuple[FloatArray, NDArray[np.bool_]]:
    radius = float(np.exp(rng.uniform(*np.log(RADII))))
    height = _shape_height(room, radius, bank=bank, rng=rng)
    edge = rng.uniform(0.4, 2.5)
    cover = ndimage.gaussian_filter(((height > 0) & room).astype(np.float32), edge)
    tissue = float(np.median(grey[room]))
    if rng.random() < 0.5:  # noqa: PLR2004 - half of the lesions spare the sulci, as infiltration does
        cover = cover * np.clip((grey / tissue - 0.35) / 0.3, 0.0, 1.0)
    level = _level_map(height, tissue, finding, bank=bank, rng=rng)
    opacity = rng.uniform(0.45, 1.0)
    blended = grey + (level - grey) * cover * opacity
    seen = (cover > 0.5) & (np.abs(blended - grey) > 0.06 * tissue)  # noqa: PLR2004 - below, nobody could see it
    solid = ndimage.binary_closing(seen, iterations=2) & (cover > 0.3)  # noqa: PLR2004 - the soft edge stays outside
    return np.asarray(blended, dtype=np.float32), np.asarray(solid, dtype=bool)


def _shape_height(room: NDArray[np.bool_], radius: float, *, bank: FieldBank, rng: np.random.Generator) -> FloatArray:
    """Height that is positive inside the lesion: a tilted ellipse plus a random field in proportion to the radius."""
    centre_y, centre_x = rng.choice(np.argwhere(room))
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.45, 0.45))
    rows, columns = np.mgrid[: room.shape[0], : room.shape[1]]
    along = (rows - centre_y) * np.cos(angle) + (columns - centre_x) * np.sin(angle)
    across = (columns - centre_x) * np.cos(angle) - (rows - centre_y) * np.sin(angle)
    distance = np.hypot(along / stretch, across * stretch) / radius
    roughness = rng.uniform(0.0, 0.55)
    coarse = bank.draw(rng, max(1.5, radius * rng.uniform(0.25, 0.8)))
    fine = bank.draw(rng, max(1.0, radius * 0.15))
    return np.asarray(1.0 - distance + roughness * (0.8 * coarse + 0.3 * fine), dtype=np.float32)


def _level_map(
    height: FloatArray, tissue: float, finding: Finding, *, bank: FieldBank, rng: np.random.Generator
) -> FloatArray:
    bright, dark = tissue * rng.uniform(1.25, 2.3), tissue * rng.uniform(0.1, 0.75)
    outer, inner = {
        Finding.BRIGHT: (bright, bright),
        Finding.DARK: (dark, dark),
        Finding.MIXED: (bright, dark) if rng.random() < 0.7 else (bright, tissue * rng.uniform(0.8, 1.2)),  # noqa: PLR2004 - cores are mostly dark
    }[finding]
    core = np.clip((height - rng.uniform(0.3, 0.7)) / rng.uniform(0.05, 0.3) + 0.5, 0.0, 1.0)
    slope = 1.0 + rng.uniform(-0.15, 0.25) * np.clip(height, -1.0, 1.0)
    texture = rng.uniform(0.0, 0.18) * bank.draw(rng, np.exp(rng.uniform(0.0, 1.8)))
    texture = texture + rng.uniform(0.0, 0.06) * bank.draw(rng, 1.0)
    return np.asarray((outer * (1 - core) + inner * core) * slope * (1.0 + texture), dtype=np.float32)
