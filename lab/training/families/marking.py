"""Whole stacks and pictures of training patients, marked by an earlier round's networks; no expert's mask is read.

A pixel is *found* where a strict rule is certain, *unsure* where there is any score or something was found near by, and
*free* elsewhere (``lab.training.slices.Mark``). Unsure pixels have no part in the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from lab.patients import Role, is_seen_whole
from lab.training import slices
from lab.training.families import anatomy
from lab.training.families.material import listed, patched, sources
from lab.training.slices import Mark, SliceSet
from workers.errors import TrainingDataMissing
from workers.segmentation import mask
from workers.segmentation.families import Frame
from workers.segmentation.framing import frame
from workers.segmentation.mask import MaskRule

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lab.cases import CaseSource
    from workers.segmentation.families import Family
    from workers.segmentation.framing import FramedStack

FOUND_RULE = MaskRule(threshold=0.5, peak=0.85, minimum_ml=0.5, smoothing_mm=4.5, share=0.5)
"""The mask rule for *found*: stricter than one that is to find the whole lesion."""
DOUBT = 0.15
"""No pixel with a higher score is marked as free."""
REACH_MM = 12.0
"""Nor is any pixel this near to what was found."""

_Marked = tuple["CaseSource", "FramedStack", "NDArray[np.uint8]"]


class Scorer(Protocol):
    """What gives each pixel of a framed stack the probability of a lesion: an earlier round, or another model."""

    def scores(self, stack: FramedStack) -> NDArray[np.float32]:
        """Return scores in 0..1, of the shape of the stack's images."""
        ...


def load(family: Family, data: Path, scorer: Scorer) -> SliceSet:
    """Return every slice of the patients whose whole stacks are used, marked; raises TrainingDataMissing."""
    cases = list(whole_cases(family, data))
    if not cases:
        raise TrainingDataMissing(f"no patient of {family.name} is one whose whole stack may be trained on")
    marked = _compared if family.frame is Frame.HEAD else _each_by_itself
    sets = [
        _marked(case, stack, marks, family.side) for case, stack, marks in marked(cases, family=family, scorer=scorer)
    ]
    joined = reduce(SliceSet.joined, sets)
    return replace(joined, weights=joined.weights / joined.weights.sum())


def whole_cases(family: Family, data: Path) -> Iterator[CaseSource]:
    """List the cases, tumours included, that may be trained on without their masks."""
    for source in sources(family, unlabelled=True):
        modality = min(family.modalities)
        yield from (
            case for case in source.cases(data, frozenset({Role.TRAIN}), modality) if is_seen_whole(case.patient)
        )


def is_marked(family: Family) -> bool:
    """Return whether a family has a second round at all."""
    return bool(listed(family, unlabelled=True))


def marks_of(stack: FramedStack, scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the ``Mark`` of every pixel of a framed stack by its scores."""
    spacing = stack.spacing_mm
    smooth = mask.smooth_across(scores, spacing[0], FOUND_RULE.smoothing_mm)
    found = mask.to_mask(smooth, spacing, FOUND_RULE)
    doubtful = smooth > DOUBT
    if found.any():
        doubtful |= ndimage.distance_transform_edt(~found, sampling=spacing) <= REACH_MM
    return np.where(found, Mark.FOUND, np.where(doubtful, Mark.UNSURE, Mark.FREE)).astype(np.uint8)


def _each_by_itself(cases: Sequence[CaseSource], *, family: Family, scorer: Scorer) -> Iterator[_Marked]:
    for case in cases:
        stack = frame(case.read().volume, family)
        yield case, stack, marks_of(stack, scorer.scores(stack))


def _compared(cases: Sequence[CaseSource], *, family: Family, scorer: Scorer) -> Iterator[_Marked]:
    """Mark every slice by what similar ones of other patients score at the same place, too."""
    stacks = [frame(case.read().volume, family) for case in cases]
    scores = [scorer.scores(stack) for stack in stacks]
    images = np.concatenate([stack.images for stack in stacks])
    patients = [case.patient for case, stack in zip(cases, stacks, strict=True) for _ in stack.images]
    usual = iter(anatomy.usual_scores(images, np.concatenate(scores), patients))
    for case, stack, score in zip(cases, stacks, scores, strict=True):
        marks = [anatomy.marks_of(one, next(usual), stack.spacing_mm, FOUND_RULE) for one in score]
        yield case, stack, np.stack(marks)


def _marked(case: CaseSource, stack: FramedStack, found: NDArray[np.uint8], side: int) -> SliceSet:
    marks = patched(found, side, Mark.FREE)
    images, body = patched(stack.images, side, -1.0), patched(stack.body, side, 0)
    shown = body.mean(axis=(1, 2)) >= slices.MINIMUM_HEAD
    return replace(slices.from_framed(images, body, case.name), marks=marks[shown])
