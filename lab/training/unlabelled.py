"""Whole stacks of training patients, marked by an earlier round of the adapters; no expert's mask is read.

Tumour-free slices are mostly necks, skull bases and crowns: the levels at which tumours grow are nearly missing from
them. Here every slice is taken. What the earlier round is certain of counts as lesion, what it gives no score, far from
that, as healthy; whatever lies between teaches nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab.patients import Role, is_seen_whole, named
from lab.training import calibrate, slices
from lab.training.slices import Mark, SliceSet
from workers.errors import TrainingDataMissing
from workers.segmentation import edges, maps, mask
from workers.segmentation.calibration import ModeSettings, Scales
from workers.segmentation.edges import Look
from workers.segmentation.mask import MaskRule

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.segmentation.maps import Models, PromptPair

FOUND_RULE = MaskRule(threshold=0.5, peak=0.9, minimum_ml=1.0, smoothing_mm=4.5, share=0.5, slope=0.7, drop=2.0)
"""What the earlier round must be certain of: stricter than a mask rule that is to find the edge."""
DOUBT = 0.1
"""Above this score nothing is taken for healthy."""
REACH_MM = 45.0
"""Nor is anything this near to what was found, of which the earlier round may have seen only a part: that leaves the
other side of the head."""
EDGE_MM = 7.0
"""How far out the edge of a find may move along the grey, where that is asked for."""
SLICE_MM = 5.0
HEAD_MM = 218.0
"""Thickness of the slices and side of the framed box, for stacks that do not record them."""


def load(folder: Path, models: Models, prompt: PromptPair, *, outlined: bool = False) -> SliceSet:
    """Read all slices of the training patients who are seen whole, marked by ``models``; see ``marks_of``."""
    sets = []
    for path in stacks(folder):
        with np.load(path) as case:
            stack = slices.from_stack(case["flair"].astype(np.float32), path.stem)
        sets.append(replace(stack, marks=mark(stack.images, models, prompt, outlined=outlined)))
    return reduce(SliceSet.joined, sets)


def stacks(folder: Path) -> list[Path]:
    """List the training patients who are seen whole; raises TrainingDataMissing where there is none."""
    paths = [path for path in slices.patient_files(folder, Role.TRAIN) if is_seen_whole(named(path.stem))]
    if not paths:
        raise TrainingDataMissing(f"no patient under {folder.name} is one whose whole stack may be trained on")
    return paths


def mark(
    images: NDArray[np.float32], models: Models, prompt: PromptPair, *, outlined: bool = False
) -> NDArray[np.uint8]:
    """Mark a framed stack ``[z, 128, 128]``; where nothing is certain, only what is in doubt is marked."""
    settings = ModeSettings(0, 1.0, mirrored=True, fusion=calibrate.HEAD_ALONE, rule=FOUND_RULE)
    computed = maps.compute(
        models,
        images,
        prompt,
        settings=settings,
        scales=Scales(1.0, 1.0, 1.0),
        spacing_z_mm=SLICE_MM,
        redraw_suspicious=False,
        look_twice=False,
        on_progress=lambda _done, _of: None,
    )
    score = mask.smooth_across(computed.head, SLICE_MM, FOUND_RULE.smoothing_mm)
    return marks_of(score, images if outlined else None)


def marks_of(score: NDArray[np.float32], images: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """Turn a score ``[z, 128, 128]``, smoothed across slices, into marks.

    Where ``images`` (the same shape, -1..1) are given, what is found is outlined along their grey
    (lab/notebook/0017).
    """
    spacing = (SLICE_MM, HEAD_MM / slices.GRID, HEAD_MM / slices.GRID)
    found = mask.to_mask(score, spacing, FOUND_RULE)
    doubtful = score > DOUBT
    if found.any():
        doubtful |= ndimage.distance_transform_edt(~found, sampling=spacing) <= REACH_MM
        if images is not None:
            look = Look((images + 1.0) / 2.0, edges.tissue(images, score))
            found = edges.follow(found, score, look, spacing_mm=spacing, reach_mm=EDGE_MM)
    return np.where(found, Mark.FOUND, np.where(doubtful, Mark.UNSURE, Mark.FREE)).astype(np.uint8)
