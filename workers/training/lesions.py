"""Synthetic lesions painted on tumour-free slices: the only "tumours" that the anomaly side is trained on.

Shapes are ellipsoids with lobes, roughened by smooth random fields and drawn along white matter; they are of one level,
or have a core or a rim of another, or hold tissue from elsewhere, and many are patchy, so that parts of them look like
the tissue around. Edges are soft, sulci may be spared and the tissue around may be pushed aside. A lesion spans the
slices of its short stack. Everything is drawn from one generator, so a seed fixes it.

Tensors are ``[n, s, y, x]``: n samples, s neighbouring slices of each with the middle one to be judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from workers.training.fields import FieldBank

DARK_SHARE = 0.15
MIXED_SHARE = 0.17
FOREIGN_SHARE = 0.05
"""Shares of lesions that are dark, that have a core or rim of another level, and that are made of other tissue."""
SECOND_SHARE = 0.15
"""Share of samples with two lesions."""
PUSHED_SHARE = 0.3
"""Share of samples whose tissue gives way to the lesion (mass effect)."""
RADII = (3.0, 30.0)
"""Smallest and largest mean radius in pixels, drawn log-uniformly."""
LARGE_RADIUS = 9.0
LARGE_SHARE = 0.5
"""Share of lesions whose radius is drawn from this one upwards alone."""
LOBED_SHARE = 0.4
PATCHY_SHARE = 0.2
WHITE_SHARE = 0.3
"""Share of lesions that keep to white matter."""
THROUGH_SHARE = 0.3
"""Share of lesions through which the anatomy can be seen: they scale its grey instead of replacing it."""
CONTRASTS = (0.2, 1.3)
"""Smallest and largest excess of a bright lesion over the tissue's grey, drawn evenly."""
OPACITIES = (0.4, 1.0)
SLICE_STEPS = (1.5, 4.5)
"""Distance of neighbouring slices in pixels."""
SMALLEST = 10
"""Fewest pixels of a lesion in the middle slice; fewer are noise that nobody would mark."""
VISIBLE = 0.09
"""Change of grey, as a share of the tissue's, below which nobody could see a lesion."""
GAP = 5
"""Half of the widest gap between visible parts of a lesion that is counted as lesion."""
LIKENESS = 0.75
"""Correlation of a lesion's outline between neighbouring slices."""


class Finding(IntEnum):
    """How a painted lesion differs from the tissue around it, and so which prompts name it."""

    NONE = 0
    BRIGHT = 1
    DARK = 2
    MIXED = 3
    FOREIGN = 4


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Stacks in 0..1 with lesions painted in, masks 0/1 ``[n, 1, y, x]`` of the middle slice, and what they show."""

    grey: Tensor
    masks: Tensor
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Stacks in 0..1 to paint on, ``room`` (bool) that lesions may fill, and ``tissue``, the median grey of each."""

    grey: Tensor
    room: Tensor
    tissue: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Outline:
    """Heights positive inside a lesion, in units of its radius; centres (y, x) and radii in pixels."""

    height: Tensor
    centres: Tensor
    radii: Tensor


def paint(grey: Tensor, heads: Tensor, wanted: Tensor, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint lesions into copies of stacks ``grey``, inside bool ``heads``, where ``wanted [n]`` is true."""
    canvas = prepare(grey, heads, erosion=int(rng.integers(4, 10)))
    wanted = wanted & (canvas.room[:, _middle(grey)].flatten(1).sum(dim=1) >= 150)  # noqa: PLR2004 - a thumb's width
    findings = _draw_findings(rng, wanted)
    painted, masks = grey.clone(), torch.zeros_like(grey[:, :1])
    for share in (1.0, SECOND_SHARE):
        rows = torch.nonzero(wanted & torch.from_numpy(rng.random(len(grey)) < share))[:, 0]
        if not len(rows):
            continue
        part = Canvas(painted[rows], canvas.room[rows], canvas.tissue[rows])
        painted[rows], seen = _paint_one(part, findings[rows], bank=bank, rng=rng)
        masks[rows] = torch.maximum(masks[rows], seen)
    masks = masks * (masks.sum(dim=(1, 2, 3), keepdim=True) >= SMALLEST)
    findings = torch.where(masks.flatten(1).any(dim=1), findings, int(Finding.NONE))
    return Painted(painted.clamp(0, 1), masks, tuple(Finding(value) for value in findings.tolist()))


def _paint_one(canvas: Canvas, findings: Tensor, *, bank: FieldBank, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    outline = _outline(canvas, bank, rng)
    pushed = Canvas(_push(canvas.grey, outline, rng), canvas.room, canvas.tissue)
    return _blend(pushed, outline, findings, bank=bank, rng=rng)


def prepare(grey: Tensor, heads: Tensor, *, erosion: int) -> Canvas:
    """Shrink the heads by ``erosion`` pixels and find what grey their tissue has."""
    room = _widest((~heads).float(), erosion) < 0.5  # noqa: PLR2004 - 0 or 1
    inside = grey.masked_fill(~room, float("nan")).flatten(1).nanmedian(dim=1).values
    return Canvas(grey, room, torch.nan_to_num(inside, nan=0.4).clamp(min=0.02).view(-1, 1, 1, 1))


def _middle(stacks: Tensor) -> int:
    return stacks.shape[1] // 2


def _draw_findings(rng: np.random.Generator, wanted: Tensor) -> Tensor:
    bright = 1.0 - DARK_SHARE - MIXED_SHARE - FOREIGN_SHARE
    drawn = rng.choice(
        [Finding.BRIGHT, Finding.DARK, Finding.MIXED, Finding.FOREIGN],
        p=(bright, DARK_SHARE, MIXED_SHARE, FOREIGN_SHARE),
        size=len(wanted),
    )
    return torch.from_numpy(drawn.astype(np.int64)) * wanted


def _outline(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> _Outline:
    """Draw a tilted, rough, lobed ellipsoid somewhere in the room of each sample's middle slice."""
    count, depth = canvas.grey.shape[:2]
    centres = _centres(canvas.room[:, depth // 2], rng)
    smallest = np.where(rng.random(count) < LARGE_SHARE, LARGE_RADIUS, RADII[0])
    radii = np.exp(rng.uniform(np.log(smallest), np.log(np.full(count, RADII[1]))))
    height = _ellipsoid(canvas.grey, centres, radii, rng)
    for _ in range(2):
        angle, reach = rng.uniform(0, 2 * np.pi, count), radii * rng.uniform(0.4, 1.2, count)
        away = torch.from_numpy(np.stack([np.sin(angle), np.cos(angle)], axis=1) * reach[:, None]).float()
        size = rng.uniform(0.3, 0.9, count)
        lobe = _ellipsoid(canvas.grey, centres + away, radii * size, rng) * _each(size)
        height = torch.where(_some(rng, count, LOBED_SHARE), torch.maximum(height, lobe), height)
    coarse = bank.sheaf(rng, np.maximum(1.5, radii * rng.uniform(0.25, 0.8, count)), slices=depth, likeness=LIKENESS)
    fine = bank.sheaf(rng, np.maximum(1.0, radii * 0.15), slices=depth, likeness=LIKENESS)
    rough = _each(rng.uniform(0.0, 0.6, count))
    along_white = _whiteness(canvas) * _each(rng.uniform(0.0, 2.5, count)) * _some(rng, count, WHITE_SHARE)
    return _Outline(height + rough * (0.8 * coarse + 0.35 * fine) + along_white, centres, _each(radii))


def _ellipsoid(grey: Tensor, centres: Tensor, radii: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Give 1 at the centre and 0 at the surface of one tilted ellipsoid a sample: ``[n, s, y, x]``."""
    count, depth, rows, columns = grey.shape
    angle, stretch = rng.uniform(0, np.pi, count), np.exp(rng.uniform(-0.45, 0.45, count))
    steps = (np.arange(depth) - depth // 2)[None] * rng.uniform(*SLICE_STEPS, (count, 1))
    rise = (steps - rng.uniform(-0.75, 0.75, (count, 1)) * radii[:, None]) / np.exp(rng.uniform(-0.2, 0.4, (count, 1)))
    y = torch.arange(rows, dtype=torch.float32).view(1, 1, -1, 1) - centres[:, 0].view(-1, 1, 1, 1)
    x = torch.arange(columns, dtype=torch.float32).view(1, 1, 1, -1) - centres[:, 1].view(-1, 1, 1, 1)
    cosine, sine, wide = _each(np.cos(angle)), _each(np.sin(angle)), _each(stretch)
    along, across = (y * cosine + x * sine) / wide, (x * cosine - y * sine) * wide
    lift = torch.from_numpy(rise.astype(np.float32))[:, :, None, None]
    return 1.0 - (along.square() + across.square() + lift.square()).sqrt() / _each(radii)


def _whiteness(canvas: Canvas) -> Tensor:
    """Tell how far tissue is darker than usual, as white matter is in FLAIR images, in -0.4..0.4."""
    smooth = functional.avg_pool2d(canvas.grey, 5, stride=1, padding=2)
    return ((canvas.tissue - smooth) / canvas.tissue).clamp(-0.4, 0.4)


def _centres(room: Tensor, rng: np.random.Generator) -> Tensor:
    """Choose a pixel (y, x) of each room, evenly; somewhere at all where there is no room."""
    flat = room.flatten(1).numpy()
    chosen = [rng.choice(np.flatnonzero(row)) if row.any() else 0 for row in flat]
    return torch.tensor([divmod(int(index), room.shape[-1]) for index in chosen], dtype=torch.float32)


def _push(grey: Tensor, outline: _Outline, rng: np.random.Generator) -> Tensor:
    """Move the tissue around a lesion outwards: what was near its centre ends up at its edge."""
    pushed = torch.from_numpy(rng.random(len(grey)) < PUSHED_SHARE)
    strength = _each(rng.uniform(0.15, 0.6, len(grey))) * pushed.view(-1, 1, 1, 1)
    rows, columns = grey.shape[-2:]
    y = torch.arange(rows, dtype=torch.float32).view(1, -1, 1) - outline.centres[:, 0].view(-1, 1, 1)
    x = torch.arange(columns, dtype=torch.float32).view(1, 1, -1) - outline.centres[:, 1].view(-1, 1, 1)
    falloff = torch.exp(-(y.square() + x.square()) / (1.4 * outline.radii[:, 0]).square()) * strength[:, 0]
    from_y = (y * (1 - falloff) + outline.centres[:, 0].view(-1, 1, 1) + 0.5) * 2 / rows - 1
    from_x = (x * (1 - falloff) + outline.centres[:, 1].view(-1, 1, 1) + 0.5) * 2 / columns - 1
    grid = torch.stack([from_x, from_y], dim=-1)
    return functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)


def _blend(
    canvas: Canvas, outline: _Outline, findings: Tensor, *, bank: FieldBank, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix the lesion into the tissue; returns the stacks and the masks of their middle slices."""
    grey, tissue, count = canvas.grey, canvas.tissue, len(canvas.grey)
    edge = _each(np.exp(rng.uniform(np.log(0.25), np.log(3.5), count)))
    cover = torch.sigmoid(outline.height * outline.radii / edge) * canvas.room
    sparing = ((grey / tissue - 0.35) / 0.3).clamp(0, 1)
    spared = torch.where(_some(rng, count, 0.5), cover * sparing, cover)
    level = _levels(canvas, outline.height, findings, bank=bank, rng=rng)
    level = torch.where(_some(rng, count, THROUGH_SHARE), grey * level / tissue, level)
    strength = _each(rng.uniform(*OPACITIES, count)) * _patches(outline, bank, rng)
    blended = grey + (level - grey) * spared * strength
    middle = slice(_middle(grey), _middle(grey) + 1)
    visible = (cover > 0.5) & ((blended - grey).abs() > VISIBLE * tissue)  # noqa: PLR2004 - half covered
    solid = _closed(visible[:, middle].float()) * (cover[:, middle] > 0.5)  # noqa: PLR2004 - the soft edge stays outside
    return blended, solid


def _patches(outline: _Outline, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Give how much of its own level a lesion shows at each place: 1, or less in the patches of a patchy one."""
    count, depth = outline.height.shape[:2]
    sigmas = np.maximum(2.0, outline.radii.flatten().numpy() * rng.uniform(0.2, 0.6, count))
    field = bank.sheaf(rng, sigmas, slices=depth, likeness=LIKENESS)
    shown = torch.sigmoid((field + _each(rng.uniform(-0.3, 1.0, count))) * _each(rng.uniform(1.0, 5.0, count)))
    lowest = _each(rng.uniform(0.05, 0.4, count))
    return torch.where(_some(rng, count, PATCHY_SHARE), lowest + (1.0 - lowest) * shown, 1.0)


def _levels(canvas: Canvas, height: Tensor, findings: Tensor, *, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Give the grey of the lesion everywhere: outer and inner level, slope and texture, or another sample's tissue."""
    count, tissue = len(findings), canvas.tissue
    bright, dark = tissue * _each(1.0 + rng.uniform(*CONTRASTS, count)), tissue * _each(rng.uniform(0.1, 0.75, count))
    kind = findings.view(-1, 1, 1, 1)
    core_level = torch.where(_each(rng.random(count)) < 0.7, dark, tissue * _each(rng.uniform(0.8, 1.2, count)))  # noqa: PLR2004 - cores are mostly dark
    outer = torch.where(kind == Finding.DARK, dark, bright)
    inner = torch.where(kind == Finding.MIXED, core_level, outer)
    core = ((height - _each(rng.uniform(0.3, 0.7, count))) / _each(rng.uniform(0.05, 0.3, count)) + 0.5).clamp(0, 1)
    slope = 1.0 + _each(rng.uniform(-0.15, 0.25, count)) * height.clamp(-1, 1)
    depth = height.shape[1]
    coarse = bank.sheaf(rng, np.exp(rng.uniform(0.0, 1.8, count)), slices=depth, likeness=LIKENESS)
    fine = bank.sheaf(rng, np.ones(count), slices=depth, likeness=0.1)
    texture = _each(rng.uniform(0.0, 0.2, count)) * coarse + _each(rng.uniform(0.0, 0.06, count)) * fine
    shift = tuple(int(value) for value in rng.integers(-30, 31, 2))
    foreign = canvas.grey.roll(1, dims=0).roll(shift, dims=(2, 3)).flip(-1) * _each(rng.uniform(0.9, 2.0, count))
    drawn = (outer * (1 - core) + inner * core) * slope
    return torch.where(kind == Finding.FOREIGN, foreign, drawn) * (1.0 + texture)


def _closed(masks: Tensor) -> Tensor:
    """Close gaps of up to ten pixels between what can be seen of a lesion: its patches belong together."""
    padded = functional.pad(masks, (GAP, GAP, GAP, GAP))
    return (1.0 - _widest(1.0 - _widest(padded, GAP), GAP))[..., GAP:-GAP, GAP:-GAP]


def _widest(values: Tensor, reach: int) -> Tensor:
    """Take the maximum over a square of ``2 * reach + 1`` pixels, along rows and then along columns."""
    size = 2 * reach + 1
    rows = functional.max_pool2d(values, (size, 1), stride=1, padding=(reach, 0))
    return functional.max_pool2d(rows, (1, size), stride=1, padding=(0, reach))


def _some(rng: np.random.Generator, count: int, share: float) -> Tensor:
    """Choose about ``share`` of the samples."""
    return torch.from_numpy(rng.random(count) < share).view(-1, 1, 1, 1)


def _each(values: np.ndarray) -> Tensor:
    """Turn one number per sample into a tensor that spreads over its pixels."""
    return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1, 1)
