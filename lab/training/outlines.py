"""Where painted lesions lie: tilted, lobed ellipsoids, roughened by random fields, through neighbouring slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.fields import FieldBank

LIKENESS = 0.75
"""Correlation of a lesion's outline between neighbouring slices."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """Which outlines are drawn: mean radii in pixels, log-uniform, ``large_share`` of them from ``large`` upwards.

    ``lobed_share`` have lobes, ``white_share`` keep to white matter; neighbouring slices are ``slice_steps`` pixels
    apart, and ``rough`` is the largest share of the radius by which an outline is uneven. ``turns`` bounds the angle in
    radians, ``stretch`` the logarithm of how much longer a shape is down the image than across it, before it is turned.
    """

    radii: tuple[float, float] = (3.0, 30.0)
    large: float = 9.0
    large_share: float = 0.5
    lobed_share: float = 0.4
    white_share: float = 0.3
    slice_steps: tuple[float, float] = (1.5, 4.5)
    rough: float = 0.6
    turns: tuple[float, float] = (0.0, np.pi)
    stretch: tuple[float, float] = (-0.45, 0.45)


HEAD_SHAPES = Shapes()


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Stacks in 0..1 to paint on, ``room`` (bool) that lesions may fill, and ``tissue``, the median grey of each.

    ``rim`` (bool) is the outer part of the room: there lesions end at what is dark, as at the skull. The tissue of
    ``firm [n]`` stacks gives way to nothing: what is marked in them must stay where it is.
    """

    grey: Tensor
    room: Tensor
    rim: Tensor
    tissue: Tensor
    firm: Tensor

    def of(self, rows: Tensor, grey: Tensor) -> Canvas:
        """Return the canvas of some of the stacks, with what has been painted on them so far."""
        return Canvas(grey[rows], self.room[rows], self.rim[rows], self.tissue[rows], self.firm[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Heights positive inside a lesion, in units of its radius; centres (y, x) and radii in pixels."""

    height: Tensor
    centres: Tensor
    radii: Tensor


def draw(canvas: Canvas, bank: FieldBank, rng: np.random.Generator, *, shapes: Shapes = HEAD_SHAPES) -> Outline:
    """Draw a tilted, rough, lobed ellipsoid somewhere in the room of each sample's middle slice."""
    count, depth = canvas.grey.shape[:2]
    centres = _centres(canvas.room[:, depth // 2], rng)
    smallest = np.where(rng.random(count) < shapes.large_share, shapes.large, shapes.radii[0])
    radii = np.exp(rng.uniform(np.log(smallest), np.log(np.full(count, shapes.radii[1]))))
    height = _ellipsoid(canvas.grey, centres, radii, rng, shapes=shapes)
    for _ in range(2):
        angle, reach = rng.uniform(0, 2 * np.pi, count), radii * rng.uniform(0.4, 1.2, count)
        away = torch.from_numpy(np.stack([np.sin(angle), np.cos(angle)], axis=1) * reach[:, None]).float()
        size = rng.uniform(0.3, 0.9, count)
        lobe = _ellipsoid(canvas.grey, centres + away, radii * size, rng, shapes=shapes) * each(size)
        height = torch.where(some(rng, count, shapes.lobed_share), torch.maximum(height, lobe), height)
    coarse = bank.sheaf(rng, np.maximum(1.5, radii * rng.uniform(0.25, 0.8, count)), slices=depth, likeness=LIKENESS)
    fine = bank.sheaf(rng, np.maximum(1.0, radii * 0.15), slices=depth, likeness=LIKENESS)
    rough = each(rng.uniform(0.0, shapes.rough, count))
    along_white = _whiteness(canvas) * each(rng.uniform(0.0, 2.5, count)) * some(rng, count, shapes.white_share)
    return Outline(height + rough * (0.8 * coarse + 0.35 * fine) + along_white, centres, each(radii))


def _ellipsoid(grey: Tensor, centres: Tensor, radii: np.ndarray, rng: np.random.Generator, *, shapes: Shapes) -> Tensor:
    """Return a tilted ellipsoid ``[n, s, y, x]``: 1 at its centre, 0 at its surface, negative outside."""
    count, depth, rows, columns = grey.shape
    angle, stretch = rng.uniform(*shapes.turns, count), np.exp(rng.uniform(*shapes.stretch, count))
    steps = (np.arange(depth) - depth // 2)[None] * rng.uniform(*shapes.slice_steps, (count, 1))
    rise = (steps - rng.uniform(-0.75, 0.75, (count, 1)) * radii[:, None]) / np.exp(rng.uniform(-0.2, 0.4, (count, 1)))
    y = torch.arange(rows, dtype=torch.float32).view(1, 1, -1, 1) - centres[:, 0].view(-1, 1, 1, 1)
    x = torch.arange(columns, dtype=torch.float32).view(1, 1, 1, -1) - centres[:, 1].view(-1, 1, 1, 1)
    cosine, sine, wide = each(np.cos(angle)), each(np.sin(angle)), each(stretch)
    along, across = (y * cosine + x * sine) / wide, (x * cosine - y * sine) * wide
    lift = torch.from_numpy(rise.astype(np.float32))[:, :, None, None]
    return 1.0 - (along.square() + across.square() + lift.square()).sqrt() / each(radii)


def _whiteness(canvas: Canvas) -> Tensor:
    """Return by how much tissue is darker than the median, as white matter is in FLAIR images: -0.4 to 0.4."""
    smooth = functional.avg_pool2d(canvas.grey, 5, stride=1, padding=2)
    return ((canvas.tissue - smooth) / canvas.tissue).clamp(-0.4, 0.4)


def _centres(room: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a random pixel (y, x) of each room; (0, 0) where there is no room."""
    flat = room.flatten(1).numpy()
    chosen = [rng.choice(np.flatnonzero(row)) if row.any() else 0 for row in flat]
    return torch.tensor([divmod(int(index), room.shape[-1]) for index in chosen], dtype=torch.float32)


def some(rng: np.random.Generator, count: int, share: float) -> Tensor:
    """Return about ``share`` of the samples at random, bool ``[n, 1, 1, 1]``."""
    return torch.from_numpy(rng.random(count) < share).view(-1, 1, 1, 1)


def each(values: np.ndarray) -> Tensor:
    """Turn one number per sample into a tensor that spreads over its pixels."""
    return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1, 1)
