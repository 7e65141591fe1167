"""A small head that learns, on painted samples, what a family's score and the residuals say together."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lab import metrics
from lab.training import loop
from lab.training.adapters import overlap_loss
from lab.training.families import material
from lab.training.families.painters import RECIPES
from lab.training.families.painting import middle
from lab.training.families.residuals import PIXEL, SCORE
from lab.training.families.sampler import FamilySampler
from lab.training.families.settings import unheard_step
from lab.training.loop import Run
from workers.segmentation.families import family_named
from workers.segmentation.framing import body_masks

if TYPE_CHECKING:
    from lab.training.families.folds import Fold
    from lab.training.families.residuals import Redrawer
    from lab.training.families.settings import FamilySettings
    from lab.training.settings import StageSettings
    from workers.segmentation.family_segmenter import FamilyNetworks

PAINT_SEED = 7_000
"""Seed of the painted samples: none that the networks were trained on."""
DRAWN = 10
"""Samples that are painted at once."""
WIDTH = 8
ODDS = 4.0
"""What log-odds are divided by before the head sees them."""


@dataclass(frozen=True, slots=True, eq=False)
class PaintedSamples:
    """``channels [n, 3, y, x]`` of painted slices, where lesions were painted and what counts, ``[n, 1, y, x]``."""

    channels: Tensor
    masks: Tensor
    settled: Tensor

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.masks)

    def at(self, rows: slice | Tensor) -> PaintedSamples:
        """Return some of them."""
        return PaintedSamples(self.channels[rows], self.masks[rows], self.settled[rows])


class ChannelHead(nn.Module):
    """From channels ``[n, 3, y, x]`` to log-odds ``[n, 1, y, x]``; before it has learned, the score's own.

    ``scale [2]`` is what residuals are divided by; a head that is ``blind`` is shown none.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, *, blind: bool) -> None:
        super().__init__()
        self.blind = blind
        self.register_buffer("scale", torch.tensor([ODDS, *scale.tolist()]).view(1, 3, 1, 1))
        last = nn.Conv2d(WIDTH, 1, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.layers = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), last
        )

    def forward(self, channels: Tensor) -> Tensor:
        """Return the log-odds of a lesion."""
        shown = channels / self.scale
        if self.blind:
            shown = torch.cat([shown[:, :PIXEL], torch.zeros_like(shown[:, PIXEL:])], dim=1)
        changed: Tensor = self.layers(shown)
        return channels[:, SCORE : SCORE + 1] + changed


def paint(
    settings: FamilySettings, fold: Fold, networks: FamilyNetworks, redrawer: Redrawer, *, count: int
) -> PaintedSamples:
    """Return ``count`` painted samples of a fold's training slices, as the fold's networks score them."""
    family = settings.family
    slices = material.load(family, settings.data, fold)
    sampler = FamilySampler(family, RECIPES[family_named(family.name)], slices, PAINT_SEED + settings.seed)
    parts = []
    for step in range(math.ceil(count / DRAWN)):
        batch = sampler.draw(step, min(DRAWN, count - step * DRAWN))
        images = middle(batch.stacks)[:, 0].numpy()
        scores = networks.of_stacks(batch.stacks).numpy() * body_masks(images, family)
        channels = redrawer.channels(images, scores.astype(np.float32))
        parts.append(PaintedSamples(channels, batch.masks, batch.settled))
    return PaintedSamples(
        torch.cat([part.channels for part in parts]),
        torch.cat([part.masks for part in parts]),
        torch.cat([part.settled for part in parts]),
    )


def fit(samples: PaintedSamples, plan: StageSettings, *, seed: int, blind: bool) -> ChannelHead:
    """Train a head on samples; which are drawn at which step depends on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = ChannelHead(_scale(samples), blind=blind)

    def loss_of(step: int) -> Tensor:
        rows = np.random.default_rng((seed, step)).choice(len(samples), plan.batch)
        some = samples.at(torch.from_numpy(rows))
        return overlap_loss(head(some.channels), some.masks, some.settled)

    with tempfile.TemporaryDirectory() as work:
        loop.optimise(Run("head", plan, Path(work), math.inf, unheard_step), head, loss_of)
    return head.eval()


@torch.inference_mode()
def painted_precision(samples: PaintedSamples, head: ChannelHead | None) -> float:
    """Return the mean average precision on painted lesions, of a head or of the score itself; 0 without any."""
    odds = samples.channels[:, SCORE : SCORE + 1] if head is None else head(samples.channels)
    counts = samples.settled > 0
    found = [
        metrics.average_precision(odds[row][counts[row]].numpy(), samples.masks[row][counts[row]].numpy() > 0)
        for row in range(len(samples))
    ]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else 0.0


def _scale(samples: PaintedSamples) -> Tensor:
    """Return the root mean square of each residual where something was redrawn; 1 where nothing was."""
    residuals = samples.channels[:, PIXEL:]
    redrawn = (residuals > 0).any(dim=1, keepdim=True)
    squares = (residuals.square() * redrawn).sum(dim=(0, 2, 3)) / redrawn.sum().clamp(min=1)
    return torch.where(squares > 0, squares.sqrt(), torch.ones_like(squares))
