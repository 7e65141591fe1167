"""The tuning part of a family: cases whose tumours no training has seen, and the mask rule that is best on them.

These are the tuning patients, and those training patients whose whole stacks are not trained on (``is_seen_whole``):
of them at most slices far from any tumour have been seen. No test patient is among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lab.cases import ArrayFile
from lab.patients import is_tuned_on
from lab.segmentation.case_selection import sample
from lab.segmentation.tables import read_table
from lab.training import rules
from lab.training.families import material
from lab.training.rules import Scored
from workers.segmentation import grid
from workers.segmentation.families import BODY_CT, BREAST_US, HEAD_MR, LIMB_MR, LUNG_CT, PET, Family, Frame
from workers.segmentation.framing import PICTURE_MM, PICTURE_STEP_MM, FramedStack, body_masks, frame

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lab.cases import CaseSource, LabelledCase
    from workers.segmentation.family_segmenter import FamilyNetworks
    from workers.segmentation.mask import MaskRule

SMOOTHINGS_MM = (4.5, 9.0)
LEVELS = (*((threshold, 0.0, 0.0) for threshold in (0.1, 0.2, 0.3)), *rules.LEVELS)
"""Lower levels than the head's, too: a network that marks its own training data is less sure of what is unlike it."""
UNSEEN_PHANTOMS = 10_000
"""Seed of the first phantom that tunes; those of training come from below."""
HEALTHY = 8
"""Phantoms without tumour, each of which counts as much as a case."""
MOST_IMAGES = 60
"""Images of each kind that are taken from a table."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of tumour of a family: where its cases lie, and what they are called there."""

    name: str
    folder: str
    suffix: str = ""
    where: tuple[tuple[str, str], ...] = ()

    def cases(self, data: Path, modality: str, *, taken: Callable[[str], bool] = is_tuned_on) -> list[CaseSource]:
        """Return the cases of the patients who are ``taken``, default the tuning part; the same ones every time."""
        folder = data / self.folder
        if self.suffix:
            found: list[CaseSource] = [
                ArrayFile(path, modality) for path in sorted(folder.glob(f"*__{self.suffix}.npz"))
            ]
            return [case for case in found if taken(case.patient)]
        listed = read_table(folder, where=self.where, modality=modality)
        return sample([image for image in listed if taken(image.patient)], MOST_IMAGES)


KINDS: Mapping[Family, tuple[Kind, ...]] = {
    PET: (Kind("sarcoma", "sarcoma-ct-pet-mr", "PET"),),
    LIMB_MR: (Kind("sarcoma", "sarcoma-ct-pet-mr", "MR"),),
    BODY_CT: (Kind("sarcoma", "sarcoma-ct-pet-mr", "CT"),),
    LUNG_CT: (Kind("nodule", "lung-nodule-ct"),),
    BREAST_US: (
        Kind("breast tumor", "breast-ultrasound", where=(("class", "benign"), ("class", "malignant"))),
        Kind("normal breast", "breast-ultrasound", where=(("class", "normal"),)),
    ),
    HEAD_MR: tuple(
        Kind(name, "brain-mri-t1c", where=(("class", name),)) for name in ("meningioma", "glioma", "pituitary")
    ),
}


def scored(cases: Iterable[LabelledCase], networks: FamilyNetworks, *, strangers_only: bool = True) -> list[Scored]:
    """Return every case on its framed grid, with scores and truth, and what counts as an alarm (``Scored``)."""
    found = []
    for case in cases:
        stack = frame(case.volume, networks.family)
        scores, truth = networks.scores(stack), framed_truth(case, stack)
        found.append(Scored(scores, truth, stack.spacing_mm, strangers_only=strangers_only))
    return found


def healthy(networks: FamilyNetworks) -> list[Scored]:
    """Return phantoms without tumour, which no training has seen, with their scores; none where none are drawn."""
    family, found = networks.family, []
    for layout in (source.layout for source in material.listed(family) if source.layout in material.PHANTOM_LAYOUTS):
        for seed in range(UNSEEN_PHANTOMS, UNSEEN_PHANTOMS + HEALTHY):
            images = material.PHANTOM_LAYOUTS[layout](seed, family.side)
            stack = as_stack(images, family)
            found.append(Scored(networks.scores(stack), np.zeros(images.shape, dtype=bool), stack.spacing_mm))
    return found


def as_stack(images: NDArray[np.float32], family: Family) -> FramedStack:
    """Return images that are framed already as a stack on a grid of their own."""
    depth, rows, columns = images.shape
    spacing_mm = (family.step_mm, family.pixel_mm, family.pixel_mm)
    if family.frame is Frame.PICTURE:
        spacing_mm = (PICTURE_STEP_MM, PICTURE_MM / rows, PICTURE_MM / columns)
    turn = grid.Orientation((0, 1, 2), (False, False, False), spacing_mm)
    crop = grid.Crop(0.0, 0.0, float(rows), float(columns), -1.0, 1.0)
    return FramedStack(images, body_masks(images, family), turn, crop, (depth, rows, columns))


def framed_truth(case: LabelledCase, stack: FramedStack) -> np.ndarray:
    """Return the expert's mask on the framed grid."""
    marked = np.ascontiguousarray(stack.orientation.apply(case.mask)).astype(np.float32)
    side = stack.images.shape[-1]
    crop = grid.Crop(stack.crop.top, stack.crop.left, stack.crop.height, stack.crop.width, 0.0, 1.0)
    return np.asarray(grid.to_model(marked, crop, side) > 0.0)


def choose(cases: Sequence[Scored]) -> tuple[MaskRule, rules.Worth]:
    """Return the best mask rule, and what it gives, over two ways to smooth across slices."""
    volumes = any(len(case.score) > 1 for case in cases)
    tried = SMOOTHINGS_MM if volumes else SMOOTHINGS_MM[:1]
    found = [rules.choose(cases, levels=LEVELS, smoothing_mm=smoothing) for smoothing in tried]
    return max(found, key=lambda pair: pair[1].value)
