"""Choose a head's threshold on lesions painted on held-out patients, and read there what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lab import metrics
from storage.progress import unheard
from workers.zero_shot.feature_head import HeldOut, in_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.training.samples import Sampler
    from storage.progress import OnProgress
    from workers.foundation.contract import FoundationModel
    from workers.segmentation.prompts import TextEncoder
    from workers.zero_shot.feature_head import FeatureHead

    FloatArray = NDArray[np.float32]
    BoolArray = NDArray[np.bool_]

PROMPT = "tumor"
UNCHOSEN = 0.5
UNREAD = HeldOut(0.0, 0.0, 0.0, 0)
"""Stand in a card until a head is calibrated."""
FIRST_STEP = 3 * 10**6
"""Far from the steps of any training."""
BATCHES = 12
SIZE = 12
LEVELS = np.array([*np.round(np.arange(0.1, 0.95, 0.05), 2), 0.95, 0.97, 0.98, 0.99])
GREY_LEVELS = np.linspace(0.2, 1.0, 41)


@dataclass(frozen=True, slots=True, eq=False)
class PaintedSlices:
    """Batches of slices of held-out patients ``[b, n, y, x]``: score, grey (both 0..1), and the painted truth."""

    scores: FloatArray
    grey: FloatArray
    truth: BoolArray


def calibrate(
    head: FeatureHead,
    model: FoundationModel,
    sampler: Sampler,
    encoder: TextEncoder,
    *,
    on_progress: OnProgress = unheard,
) -> FeatureHead:
    """Return the head with the threshold of the best mean Dice, and with what it reads there.

    As in a volume, slices with and without lesion are counted together: each batch of slices is one case.
    """
    drawn = score_painted(head, model, sampler, encoder, on_progress=on_progress)
    threshold, dice = best_level(drawn.scores, drawn.truth, LEVELS)
    _, grey_dice = best_level(drawn.grey, drawn.truth, GREY_LEVELS)
    precision = metrics.average_precision(drawn.scores, drawn.truth) or 0.0
    held_out = HeldOut(round(dice, 4), round(precision, 4), round(grey_dice, 4), BATCHES * SIZE)
    return replace(head, card=replace(head.card, threshold=threshold, held_out=held_out))


@torch.inference_mode()
def score_painted(
    head: FeatureHead,
    model: FoundationModel,
    sampler: Sampler,
    encoder: TextEncoder,
    *,
    on_progress: OnProgress = unheard,
) -> PaintedSlices:
    """Return lesions painted on the sampler's slices, scored by the head."""
    prompt, parts = encoder.prompt(PROMPT), []
    for number in range(BATCHES):
        batch = sampler.draw(FIRST_STEP + number, SIZE)
        images = in_range(batch.images, model.card.value_range)
        scores = head.score(images, model.features(images), prompt)
        parts.append((scores.cpu(), (batch.images + 1.0) / 2.0, batch.masks > 0))
        on_progress(number + 1, BATCHES)
    stacked = [torch.stack(part)[:, :, 0].numpy() for part in zip(*parts, strict=True)]
    return PaintedSlices(stacked[0], stacked[1], stacked[2])


def best_level(maps: FloatArray, truth: BoolArray, levels: NDArray[np.float64]) -> tuple[float, float]:
    """Return the level above which maps ``[b, n, y, x]`` have the best mean Dice over batches, and that mean."""
    dices = [
        float(np.mean([metrics.dice(case > level, true) for case, true in zip(maps, truth, strict=True)]))
        for level in levels
    ]
    best = int(np.argmax(dices))
    return float(levels[best]), dices[best]
