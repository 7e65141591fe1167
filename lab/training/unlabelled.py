"""Whole stacks of training patients, on which adapters that are trained already mark the tumours.

Slices without tumour are mostly necks, skull bases and crowns; training on them alone shows hardly any healthy brain
at the height at which tumours grow. Here every slice of a stack is used, and no expert's mask is read. Each pixel gets
a mark: *found* where the adapters are certain of a lesion, *free* (healthy) where they give no score and nothing was
found near by, *unsure* otherwise. Unsure pixels have no part in the loss.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab.patients import Role, is_seen_whole, named
from lab.training import slices
from lab.training.slices import Mark, SliceSet
from storage.progress import unheard
from workers.errors import TrainingDataMissing
from workers.segmentation import edges, grid, maps, mask
from workers.segmentation.mask import MaskRule

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.segmentation.maps import Models
    from workers.segmentation.prompts import PromptPair

FOUND_RULE = MaskRule(threshold=0.5, peak=0.9, minimum_ml=1.0, smoothing_mm=4.5, share=0.5, slope=0.7, drop=2.0)
"""The mask rule for *found*: stricter than one that is to find the whole lesion."""
DOUBT = 0.1
"""No pixel with a higher score is marked as free."""
REACH_MM = 45.0
"""Nor is any pixel this near to what was found, where more of the lesion may lie; the other side of a head is not."""
EDGE_MM = 7.0
"""How far outwards the edge of what was found may move along the grey."""
SLICE_MM = 5.0
HEAD_MM = 218.0
"""Assumed distance of slices, and side of the square that is framed: the stacks do not record their spacing."""


def load(folder: Path, models: Models, prompt: PromptPair, *, outlined: bool = False) -> SliceSet:
    """Return every slice of the patients whose whole stacks are used, marked by ``models``; raises TrainingDataMissing.

    ``outlined`` lets the edge of what was found follow the image's grey.
    """
    sets = []
    for path in stacks(folder):
        with np.load(path) as case:
            stack = slices.from_stack(case["flair"].astype(np.float32), path.stem)
        sets.append(replace(stack, marks=mark(stack.images, models, prompt, outlined=outlined)))
    return reduce(SliceSet.joined, sets)


def stacks(folder: Path) -> list[Path]:
    """Return the files of the patients whose whole stacks are used; raises TrainingDataMissing where there is none."""
    paths = [path for path in slices.patient_files(folder, Role.TRAIN) if is_seen_whole(named(path.stem))]
    if not paths:
        raise TrainingDataMissing(f"no patient under {folder.name} is one whose whole stack may be trained on")
    return paths


def mark(
    images: NDArray[np.float32], models: Models, prompt: PromptPair, *, outlined: bool = False
) -> NDArray[np.uint8]:
    """Return the ``Mark`` of every pixel of a framed stack ``[z, 128, 128]`` (-1..1)."""
    computed = maps.compute(
        models,
        images,
        maps.shown_slices(grid.skull_masks(images)),
        prompt,
        spacing_z_mm=SLICE_MM,
        mirrored=True,
        denoiser_attention=False,
        on_progress=unheard,
    )
    score = mask.smooth_across(computed.head, SLICE_MM, FOUND_RULE.smoothing_mm)
    return marks_of(score, images if outlined else None)


def marks_of(score: NDArray[np.float32], images: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """Return the ``Mark`` of every pixel by its score ``[z, 128, 128]``, which must be smoothed across slices.

    With ``images`` (same shape, -1..1) the edge of what was found follows their grey (lab/notebook/0017).
    """
    spacing = (SLICE_MM, HEAD_MM / slices.GRID, HEAD_MM / slices.GRID)
    labels = mask.kept_components(score, spacing, FOUND_RULE)
    found = labels > 0
    doubtful = score > DOUBT
    if found.any():
        doubtful |= ndimage.distance_transform_edt(~found, sampling=spacing) <= REACH_MM
        if images is not None:
            greys = edges.image_greys(images, grid.skull_masks(images), score)
            found = edges.follow_grey(labels, score, greys, spacing_mm=spacing, reach_mm=EDGE_MM)
    return np.where(found, Mark.FOUND, np.where(doubtful, Mark.UNSURE, Mark.FREE)).astype(np.uint8)
