"""Synthetic lesions painted on tumour-free slices: the only "tumours" that the anomaly side is trained on.

Shapes are ellipsoids with lobes, roughened by smooth random fields and drawn along white matter; they are of one level,
or have a core or a rim of another, or hold tissue from elsewhere, or are solid masses of the tissue's own grey with a
bright part, and many are patchy, so that parts of them look like the tissue around. Edges are soft, sulci may be spared
and the tissue around may be pushed aside. A lesion spans the slices of its short stack. Everything is drawn from one
generator, so a seed fixes it.

Tensors are ``[n, s, y, x]``: n samples, s neighbouring slices of each with the middle one to be judged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from lab.training import outlines
from lab.training.outlines import LIKENESS, Canvas, each, some

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.fields import FieldBank
    from lab.training.outlines import Outline

DARK_SHARE = 0.12
MIXED_SHARE = 0.4
FOREIGN_SHARE = 0.04
"""Shares of lesions that are dark, that have parts of another level, and that are made of other tissue."""
PARTED_SHARE = 0.65
"""Share of the mixed ones whose parts lie anywhere; those of the others are a core and a rim."""
MILD = (0.85, 1.35)
"""Grey of the faint part of a parted lesion, as a multiple of the tissue's."""
MASS_SHARE = 0.5
MASS_RADIUS = 11.0
"""Share of the parted ones, of at least so many pixels, whose faint part is a mass, which takes the anatomy's place."""
MASS_GREYS = (0.75, 1.2)
"""Grey of a mass, as a multiple of the tissue's: hardly another; what tells it is its texture and what is gone."""
MASS_COVER = 0.7
"""Least opacity of a lesion with a mass."""
SECOND_SHARE = 0.15
"""Share of samples with two lesions."""
PUSHED_SHARE = 0.3
"""Share of samples whose tissue gives way to the lesion (mass effect)."""
PATCHY_SHARE = 0.2
THROUGH_SHARE = 0.3
"""Share of lesions through which the anatomy can be seen: they scale its grey instead of replacing it."""
CONTRASTS = (0.2, 1.3)
"""Smallest and largest excess of a bright lesion over the tissue's grey, drawn evenly."""
OPACITIES = (0.4, 1.0)
RIM = 6
"""Width in pixels of the outer part of the room, in which the skull may still lie."""
MARGIN = 3
"""Pixels that are left free around what is taken already."""
SMALLEST = 10
"""Fewest pixels of a lesion in the middle slice; fewer are noise that nobody would mark."""
VISIBLE = 0.09
"""Change of grey, as a share of the tissue's, below which nobody could see a lesion."""
GAP = 5
"""Half of the widest gap between visible parts of a lesion that is counted as lesion."""


class LesionKind(IntEnum):
    """How a painted lesion differs from the tissue around it, and so which prompts name it."""

    NONE = 0
    BRIGHT = 1
    DARK = 2
    MIXED = 3
    FOREIGN = 4
    FOUND = 5
    """Not painted: what an earlier round of training found in a patient."""


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """Stacks in 0..1 with lesions painted in, masks 0/1 ``[n, 1, y, x]`` of the middle slice, and what they show."""

    grey: Tensor
    masks: Tensor
    kinds: tuple[LesionKind, ...]


def paint(
    grey: Tensor,
    heads: Tensor,
    wanted: Tensor,
    *,
    bank: FieldBank,
    rng: np.random.Generator,
    taken: Tensor | None = None,
) -> Painted:
    """Paint lesions into copies of stacks ``grey``, inside bool ``heads``, where ``wanted [n]`` is true.

    Nothing is painted on or near what is ``taken`` (bool, as ``heads``), and nothing pushes it aside.
    """
    canvas = prepare(grey, heads, erosion=int(rng.integers(3, 8)), taken=taken)
    wanted = wanted & (canvas.room[:, _middle(grey)].flatten(1).sum(dim=1) >= 150)  # noqa: PLR2004 - a thumb's width
    kinds = _draw_kinds(rng, wanted)
    painted, masks = grey.clone(), torch.zeros_like(grey[:, :1])
    for share in (1.0, SECOND_SHARE):
        rows = torch.nonzero(wanted & torch.from_numpy(rng.random(len(grey)) < share))[:, 0]
        if not len(rows):
            continue
        part = canvas.of(rows, painted)
        painted[rows], seen = _paint_one(part, kinds[rows], bank=bank, rng=rng)
        masks[rows] = torch.maximum(masks[rows], seen)
    masks = masks * (masks.sum(dim=(1, 2, 3), keepdim=True) >= SMALLEST)
    kinds = torch.where(masks.flatten(1).any(dim=1), kinds, int(LesionKind.NONE))
    return Painted(painted.clamp(0, 1), masks, tuple(LesionKind(value) for value in kinds.tolist()))


def _paint_one(canvas: Canvas, kinds: Tensor, *, bank: FieldBank, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    outline = outlines.draw(canvas, bank, rng)
    pushed = replace(canvas, grey=_push(canvas, outline, rng))
    return _blend(pushed, outline, kinds, bank=bank, rng=rng)


def prepare(grey: Tensor, heads: Tensor, *, erosion: int, taken: Tensor | None = None) -> Canvas:
    """Shrink the heads by ``erosion`` pixels, leave out what is ``taken``, and find what grey their tissue has."""
    room = _widest((~heads).float(), erosion) < 0.5  # noqa: PLR2004 - 0 or 1
    firm = torch.zeros(len(grey), dtype=torch.bool)
    if taken is not None:
        room, firm = room & (_widest(taken.float(), MARGIN) < 0.5), taken.flatten(1).any(dim=1)  # noqa: PLR2004 - 0 or 1
    rim = _widest((~heads).float(), erosion + RIM) > 0.5  # noqa: PLR2004 - 0 or 1
    inside = grey.masked_fill(~room | rim, float("nan")).flatten(1).nanmedian(dim=1).values
    return Canvas(grey, room, rim, torch.nan_to_num(inside, nan=0.4).clamp(min=0.02).view(-1, 1, 1, 1), firm)


def _middle(stacks: Tensor) -> int:
    return stacks.shape[1] // 2


def _draw_kinds(rng: np.random.Generator, wanted: Tensor) -> Tensor:
    bright = 1.0 - DARK_SHARE - MIXED_SHARE - FOREIGN_SHARE
    drawn = rng.choice(
        [LesionKind.BRIGHT, LesionKind.DARK, LesionKind.MIXED, LesionKind.FOREIGN],
        p=(bright, DARK_SHARE, MIXED_SHARE, FOREIGN_SHARE),
        size=len(wanted),
    )
    return torch.from_numpy(drawn.astype(np.int64)) * wanted


def _push(canvas: Canvas, outline: Outline, rng: np.random.Generator) -> Tensor:
    """Move the tissue around a lesion outwards: what was near its centre ends up at its edge."""
    grey = canvas.grey
    pushed = torch.from_numpy(rng.random(len(grey)) < PUSHED_SHARE) & ~canvas.firm
    strength = each(rng.uniform(0.15, 0.6, len(grey))) * pushed.view(-1, 1, 1, 1)
    rows, columns = grey.shape[-2:]
    y = torch.arange(rows, dtype=torch.float32).view(1, -1, 1) - outline.centres[:, 0].view(-1, 1, 1)
    x = torch.arange(columns, dtype=torch.float32).view(1, 1, -1) - outline.centres[:, 1].view(-1, 1, 1)
    falloff = torch.exp(-(y.square() + x.square()) / (1.4 * outline.radii[:, 0]).square()) * strength[:, 0]
    from_y = (y * (1 - falloff) + outline.centres[:, 0].view(-1, 1, 1) + 0.5) * 2 / rows - 1
    from_x = (x * (1 - falloff) + outline.centres[:, 1].view(-1, 1, 1) + 0.5) * 2 / columns - 1
    grid = torch.stack([from_x, from_y], dim=-1)
    return functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)


def _blend(
    canvas: Canvas, outline: Outline, kinds: Tensor, *, bank: FieldBank, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix the lesion into the tissue; returns the stacks and the masks of their middle slices."""
    grey, tissue, count = canvas.grey, canvas.tissue, len(canvas.grey)
    edge = each(np.exp(rng.uniform(np.log(0.25), np.log(3.5), count)))
    cover = torch.sigmoid(outline.height * outline.radii / edge) * canvas.room
    sparing = ((grey / tissue - 0.35) / 0.3).clamp(0, 1)
    spared = torch.where(some(rng, count, 0.5) | canvas.rim, cover * sparing, cover)
    parted = some(rng, count, PARTED_SHARE) & (kinds == LesionKind.MIXED).view(-1, 1, 1, 1)
    faint = _faint(outline, bank, rng) * parted
    level = _levels(canvas, outline.height, kinds, faint, bank=bank, rng=rng)
    massive = parted & some(rng, count, MASS_SHARE) & (outline.radii >= MASS_RADIUS)
    through = some(rng, count, THROUGH_SHARE) & ~massive
    level = torch.where(through, _through(grey, faint, rng) * level / tissue, level)
    level = torch.where(massive, level + (_mass(canvas, bank, rng) - level) * faint, level)
    spared = torch.where(massive & ~canvas.rim, cover, spared)
    strength = _strength(outline, faint, parted, massive, bank=bank, rng=rng)
    blended = grey + (level - grey) * spared * strength
    middle = slice(_middle(grey), _middle(grey) + 1)
    changed = (blended - grey).abs() > VISIBLE * tissue
    visible = (cover > 0.5) & (changed | (faint > 0.5))  # noqa: PLR2004 - half covered; half faint
    solid = _closed(visible[:, middle].float()) * (cover[:, middle] > 0.5)  # noqa: PLR2004 - the soft edge stays outside
    return blended, solid


def _strength(
    outline: Outline, faint: Tensor, parted: Tensor, massive: Tensor, *, bank: FieldBank, rng: np.random.Generator
) -> Tensor:
    """Return how opaque a lesion is at each place, 0 to 1. Faint parts are more opaque than others, masses all over."""
    even = each(rng.uniform(*OPACITIES, len(faint)))
    least = torch.where(massive, faint.clamp(min=MASS_COVER), 0.8 * faint)
    return torch.maximum(even, least) * torch.where(parted, 1.0, _patches(outline, bank, rng))


def _faint(outline: Outline, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Return where a parted lesion is faint, 0 to 1: large parts of it, with a more or less sharp border."""
    count, depth = outline.height.shape[:2]
    sigmas = np.maximum(3.0, outline.radii.flatten().numpy() * rng.uniform(0.3, 0.8, count))
    field = bank.sheaf(rng, sigmas, slices=depth, likeness=LIKENESS)
    return torch.sigmoid((field + each(rng.uniform(-0.8, 0.6, count))) * each(rng.uniform(2.0, 8.0, count)))


def _mass(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Return the grey of solid tumour that is hardly brighter than tissue: coarsely mottled, with small dark cysts."""
    count, depth = canvas.grey.shape[:2]
    mottled = bank.sheaf(rng, np.exp(rng.uniform(0.3, 1.5, count)), slices=depth, likeness=LIKENESS)
    hollows = bank.sheaf(rng, np.exp(rng.uniform(0.6, 1.4, count)), slices=depth, likeness=LIKENESS)
    cysts = (hollows - each(rng.uniform(1.2, 2.2, count))).clamp(0, 1)
    grey = canvas.tissue * each(rng.uniform(*MASS_GREYS, count))
    return grey * (1.0 + each(rng.uniform(0.05, 0.22, count)) * mottled) * (1.0 - 0.8 * cysts)


def _through(grey: Tensor, faint: Tensor, rng: np.random.Generator) -> Tensor:
    """Return the anatomy that shows through a lesion, blurred where it is faint, which else could not be seen there."""
    size = int(rng.choice((5, 7, 9)))
    washed = functional.avg_pool2d(grey, size, stride=1, padding=size // 2)
    return grey + (washed - grey) * faint


def _patches(outline: Outline, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Return how strongly a lesion shows at each place: 1, or less in the patches of a patchy one."""
    count, depth = outline.height.shape[:2]
    sigmas = np.maximum(2.0, outline.radii.flatten().numpy() * rng.uniform(0.2, 0.6, count))
    field = bank.sheaf(rng, sigmas, slices=depth, likeness=LIKENESS)
    shown = torch.sigmoid((field + each(rng.uniform(-0.3, 1.0, count))) * each(rng.uniform(1.0, 5.0, count)))
    lowest = each(rng.uniform(0.05, 0.4, count))
    return torch.where(some(rng, count, PATCHY_SHARE), lowest + (1.0 - lowest) * shown, 1.0)


def _levels(
    canvas: Canvas, height: Tensor, kinds: Tensor, faint: Tensor, *, bank: FieldBank, rng: np.random.Generator
) -> Tensor:
    """Return the grey of the lesion: core and outer part, with slope and texture; or another sample's tissue."""
    count, tissue = len(kinds), canvas.tissue
    bright, dark = tissue * each(1.0 + rng.uniform(*CONTRASTS, count)), tissue * each(rng.uniform(0.1, 0.75, count))
    kind = kinds.view(-1, 1, 1, 1)
    core_level = torch.where(each(rng.random(count)) < 0.7, dark, tissue * each(rng.uniform(0.8, 1.2, count)))  # noqa: PLR2004 - cores are mostly dark
    outer = torch.where(kind == LesionKind.DARK, dark, bright)
    inner = torch.where(kind == LesionKind.MIXED, core_level, outer)
    core = ((height - each(rng.uniform(0.15, 0.7, count))) / each(rng.uniform(0.05, 0.3, count)) + 0.5).clamp(0, 1)
    parted = faint.flatten(1).any(dim=1).view(-1, 1, 1, 1)
    inner = torch.where(parted, torch.minimum(tissue * each(rng.uniform(*MILD, count)), bright), inner)
    core = torch.where(parted, faint, core)
    slope = 1.0 + each(rng.uniform(-0.15, 0.25, count)) * height.clamp(-1, 1)
    depth = height.shape[1]
    coarse = bank.sheaf(rng, np.exp(rng.uniform(0.0, 1.8, count)), slices=depth, likeness=LIKENESS)
    fine = bank.sheaf(rng, np.ones(count), slices=depth, likeness=0.1)
    texture = each(rng.uniform(0.0, 0.2, count)) * coarse + each(rng.uniform(0.0, 0.06, count)) * fine
    shift = tuple(int(value) for value in rng.integers(-30, 31, 2))
    foreign = canvas.grey.roll(1, dims=0).roll(shift, dims=(2, 3)).flip(-1) * each(rng.uniform(0.9, 2.0, count))
    drawn = (outer * (1 - core) + inner * core) * slope
    return torch.where(kind == LesionKind.FOREIGN, foreign, drawn) * (1.0 + texture)


def _closed(masks: Tensor) -> Tensor:
    """Close gaps of up to ten pixels between what can be seen of a lesion: its patches belong together."""
    padded = functional.pad(masks, (GAP, GAP, GAP, GAP))
    return (1.0 - _widest(1.0 - _widest(padded, GAP), GAP))[..., GAP:-GAP, GAP:-GAP]


def _widest(values: Tensor, reach: int) -> Tensor:
    """Return the maximum over a square of ``2 * reach + 1`` pixels, along rows and then along columns."""
    size = 2 * reach + 1
    rows = functional.max_pool2d(values, (size, 1), stride=1, padding=(reach, 0))
    return functional.max_pool2d(rows, (1, size), stride=1, padding=(0, reach))
