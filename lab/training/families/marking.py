"""Whole stacks and pictures of training patients, marked by an earlier round's networks; no expert's mask is read.

A pixel is *found* where a strict rule is certain, *unsure* where there is any score or something was found near by, and
*free* elsewhere (``lab.training.slices.Mark``). Unsure pixels have no part in the loss. Where the family's scores are
spread along the grey, both levels are shares of the stack's own peak: a network that has seen painted lesions alone is
less sure of real ones, and marks too little of them at levels that hold for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from lab.training import slices
from lab.training.families import anatomy
from lab.training.families.folds import KEPT_IN, UNFOLDED, Fold
from lab.training.families.material import listed, patched
from lab.training.slices import Mark, SliceSet
from workers.errors import TrainingDataMissing
from workers.segmentation import mask
from workers.segmentation.ends import cut_ends
from workers.segmentation.families import Frame
from workers.segmentation.framing import frame
from workers.segmentation.mask import MaskRule
from workers.segmentation.own_level import OwnLevel

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lab.cases import CaseSource
    from workers.segmentation.families import Family
    from workers.segmentation.framing import FramedStack
    from workers.segmentation.random_walk import Walk

FOUND_RULE = MaskRule(threshold=0.5, peak=0.85, minimum_ml=0.5, smoothing_mm=4.5, share=0.5)
"""The mask rule for *found*: stricter than one that is to find the whole lesion."""
DOUBT = 0.15
"""No pixel with a higher score is marked as free."""
REACH_MM = 12.0
"""Nor is any pixel this near to what was found."""
OWN_RULE = MaskRule(threshold=0.0, peak=0.6, minimum_ml=0.5, smoothing_mm=9.0, share=0.5)
OWN_FOUND, OWN_DOUBT = 0.55, 0.2
"""The levels of *found* and of doubt as shares of a stack's own peak."""
END_SHARE = 0.4
"""Share of its best slice below which a slice is no part of what was found (``ends``)."""

_Marked = tuple["CaseSource", "FramedStack", "NDArray[np.uint8]"]


class Scorer(Protocol):
    """What gives each pixel of a framed stack the probability of a lesion: an earlier round, or another model."""

    def scores(self, stack: FramedStack) -> NDArray[np.float32]:
        """Return scores in 0..1, of the shape of the stack's images."""
        ...


def load(family: Family, data: Path, scorer: Scorer, fold: Fold = UNFOLDED, *, walk: Walk | None = None) -> SliceSet:
    """Return every slice of the patients whose whole stacks are used, marked; raises TrainingDataMissing."""
    cases = list(whole_cases(family, data, fold))
    if not cases:
        raise TrainingDataMissing(f"no patient of {family.name} is one whose whole stack may be trained on")
    marked = (
        _compared(cases, family=family, scorer=scorer)
        if family.frame is Frame.HEAD
        else _each_by_itself(cases, family=family, scorer=scorer, walk=walk)
    )
    sets = [_marked(case, stack, marks, family.side) for case, stack, marks in marked]
    joined = reduce(SliceSet.joined, sets)
    return replace(joined, weights=joined.weights / joined.weights.sum())


def whole_cases(family: Family, data: Path, fold: Fold = UNFOLDED) -> Iterator[CaseSource]:
    """List the cases, tumours included, that a network may be trained on without their masks."""
    for source in listed(family, unlabelled=True):
        cases = source.cases(data, KEPT_IN, min(family.modalities))
        yield from (case for case in cases if fold.shows_whole(case.patient))


def is_marked(family: Family) -> bool:
    """Return whether a family has a second round at all."""
    return bool(listed(family, unlabelled=True))


def marks_of(stack: FramedStack, scores: NDArray[np.float32], walk: Walk | None = None) -> NDArray[np.uint8]:
    """Return the ``Mark`` of every pixel of a framed stack by its scores, spread by a ``walk`` if there is one."""
    spacing = stack.spacing_mm
    if walk is None:
        smooth = mask.smooth_across(scores, spacing[0], FOUND_RULE.smoothing_mm)
        found, doubtful = mask.to_mask(smooth, spacing, FOUND_RULE), smooth > DOUBT
    else:
        found, doubtful = _own_marks(stack, scores, walk)
    if found.any():
        doubtful |= ndimage.distance_transform_edt(~found, sampling=spacing) <= REACH_MM
    return np.where(found, Mark.FOUND, np.where(doubtful, Mark.UNSURE, Mark.FREE)).astype(np.uint8)


def _each_by_itself(
    cases: Sequence[CaseSource], *, family: Family, scorer: Scorer, walk: Walk | None
) -> Iterator[_Marked]:
    for case in cases:
        stack = frame(case.read().volume, family)
        yield case, stack, marks_of(stack, scorer.scores(stack), walk)


def _compared(cases: Sequence[CaseSource], *, family: Family, scorer: Scorer) -> Iterator[_Marked]:
    """Mark every slice by what similar ones of other patients score at the same place, too."""
    stacks = [frame(case.read().volume, family) for case in cases]
    scores = [scorer.scores(stack) for stack in stacks]
    images = np.concatenate([stack.images for stack in stacks])
    patients = [case.patient for case, stack in zip(cases, stacks, strict=True) for _ in stack.images]
    dark = np.concatenate([anatomy.darkness(stack) for stack in stacks])
    usual = iter(anatomy.usual_scores(images, np.concatenate(scores), patients))
    odd = iter(anatomy.unusually_dark(dark, anatomy.usual_scores(images, dark, patients)))
    for case, stack, score in zip(cases, stacks, scores, strict=True):
        spacing = stack.spacing_mm
        marks = [anatomy.marks_of(one, next(usual), spacing, FOUND_RULE, odd=next(odd)) for one in score]
        yield case, stack, np.stack(marks)


def _own_marks(
    stack: FramedStack, scores: NDArray[np.float32], walk: Walk
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what is found and what is doubtful by the stack's own peak."""
    spacing, own = stack.spacing_mm, OwnLevel(walk, OWN_FOUND)
    spread = own.spread(mask.smooth_across(scores, spacing[0], OWN_RULE.smoothing_mm), stack.images, spacing)
    labels = mask.kept_components(spread, spacing, own.rule(OWN_RULE, spread, spacing))
    doubt = replace(own, share=OWN_DOUBT).rule(OWN_RULE, spread, spacing).threshold
    return cut_ends(labels, spread, END_SHARE) > 0, spread > doubt


def _marked(case: CaseSource, stack: FramedStack, found: NDArray[np.uint8], side: int) -> SliceSet:
    marks = patched(found, side, Mark.FREE)
    images, body = patched(stack.images, side, -1.0), patched(stack.body, side, 0)
    shown = body.mean(axis=(1, 2)) >= slices.MINIMUM_HEAD
    return replace(slices.from_framed(images, body, case.name), marks=marks[shown])
