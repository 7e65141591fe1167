"""Uptake of FDG: tumours as rings with cold cores, as mottled or faint masses; and uptake that is no tumour.

Tumours are known in relation to what surrounds them, so everything is drawn as a multiple of the surrounding uptake,
and blurred as the scanner blurs it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from lab.training import outlines
from lab.training.families.painting import Painted, blurred, cover, middle, spread, texture
from lab.training.outlines import Canvas, Shapes, each, some
from workers.segmentation.families import PET

if TYPE_CHECKING:
    from torch import Tensor

    from lab.training.fields import FieldBank
    from lab.training.outlines import Outline

SHAPES = Shapes(radii=(1.8, 17.0), large=5.0, large_share=0.7, white_share=0.0, slice_steps=(0.7, 1.2), rough=0.35)
RATIOS = (1.8, 25.0)
"""Uptake of a tumour as a multiple of its surroundings', drawn log-uniformly."""
CORE_SHARE = 0.55
STRAND_SHARE = 0.35
"""Share of stacks with uptake of another kind: a muscle that was at work, a vessel, skin."""
SCALES = (0.45, 1.8)
"""How much all uptake of a stack is scaled: dose, time and body weight are never quite right."""


def paint(canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Painted:
    """Paint one tumour into every stack, and into some of them uptake that is none and stays unmarked."""
    outline = outlines.draw(canvas, bank, rng, shapes=SHAPES)
    count = len(canvas.grey)
    suv = decode(canvas.grey) * each(np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), count)))
    suv = _strands(suv, canvas, bank, rng)
    covered = cover(outline, spread(rng, 0.15, 0.8, count)) * canvas.room
    around = _surroundings(suv, covered)
    added = (_tumour(around, outline, bank, rng) - suv) * covered
    suv = suv + blurred(added, float(rng.uniform(0.5, 1.1)))
    noise = spread(rng, 0.0, 0.22, count) * texture(bank, rng, (0.7, 1.2), suv.shape)
    noisy = suv.clamp(min=0.0) * torch.exp(noise)
    return Painted(encode(noisy).clamp(0, 1), (middle(covered) > 0.5).float())  # noqa: PLR2004 - half covered


def rescaled(grey: Tensor, rng: np.random.Generator, bank: FieldBank) -> Tensor:
    """Return stacks without a painted tumour, with their uptake scaled and with strands of other uptake."""
    room = grey > PET.body_above
    canvas = Canvas(
        grey, room, room, grey.new_full((len(grey), 1, 1, 1), 0.2), torch.zeros(len(grey), dtype=torch.bool)
    )
    scales = each(np.exp(rng.uniform(np.log(SCALES[0]), np.log(SCALES[1]), len(grey))))
    return encode(_strands(decode(grey) * scales, canvas, bank, rng)).clamp(0, 1)


def decode(grey: Tensor) -> Tensor:
    """Return standardised uptake values for grey 0..1 of the family's logarithmic scale."""
    half, white = PET.window
    return half * torch.expm1(grey * math.log1p(white / half))


def encode(suv: Tensor) -> Tensor:
    """Return grey 0..1 for standardised uptake values."""
    half, white = PET.window
    return torch.log1p(suv / half) / math.log1p(white / half)


def _surroundings(suv: Tensor, covered: Tensor) -> Tensor:
    """Return the mean uptake just around each tumour, at least that of resting muscle."""
    near = (blurred(covered, 3.0) > 0.03).float() * (1.0 - covered)  # noqa: PLR2004 - a centimetre or two
    return ((suv * near).sum(dim=(1, 2, 3), keepdim=True) / near.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)).clamp(
        min=0.25
    )


def _tumour(around: Tensor, outline: Outline, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Return the uptake of a tumour at each place."""
    count, shape = len(around), outline.height.shape
    ratio = each(np.exp(rng.uniform(np.log(RATIOS[0]), np.log(RATIOS[1]), count)))
    depth = outline.height + spread(rng, 0.05, 0.35, count) * texture(bank, rng, (1.5, 5.0), shape)
    core = torch.sigmoid((depth - spread(rng, 0.15, 0.65, count)) * spread(rng, 6.0, 25.0, count))
    cold = core * some(rng, count, CORE_SHARE) * (1.0 - spread(rng, 0.05, 0.6, count))
    mottled = spread(rng, 0.0, 0.55, count) * texture(bank, rng, (1.0, 4.0), shape)
    # At its surface a tumour is often fainter than below it: the reader's outline includes what barely takes up.
    fading = 1.0 - spread(rng, 0.0, 0.7, count) * torch.exp(-(outline.height.clamp(min=0) * 6.0))
    return torch.maximum(
        around * ratio * torch.exp(mottled - 0.5 * mottled.square()) * fading * (1.0 - cold), 0.5 * around
    )


def _strands(suv: Tensor, canvas: Canvas, bank: FieldBank, rng: np.random.Generator) -> Tensor:
    """Raise the uptake of some stacks in long, soft, faint strands and in single small spots."""
    count = len(suv)
    field = texture(bank, rng, (2.0, 6.0), suv.shape)
    strands = torch.sigmoid((field - spread(rng, 0.8, 2.0, count)) * spread(rng, 1.0, 3.0, count))
    lift = spread(rng, 0.2, 1.2, count) * some(rng, count, STRAND_SHARE)
    return suv * (1.0 + lift * strands * canvas.room)
