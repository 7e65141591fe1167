"""Slices to train on, framed as the segmenter frames them, each with its neighbours below and above."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from lab.patients import Role, named, role
from workers.errors import TrainingDataMissing
from workers.segmentation import grid
from workers.segmentation.prompts import Subject

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GRID = 128
"""Pixels along each side of the model's image."""
MASK_MARGIN = 2
"""Slices this close to a slice with tumour are not taken for tumour-free."""
MINIMUM_HEAD = 0.02
"""Share of the image that the head covers, for a slice to be worth training on."""


HEAD_MR = Subject("MRI", "brain")


class Mark(IntEnum):
    """What a pixel counts as in training: healthy, found by trained adapters, or neither (see ``unlabelled``)."""

    FREE = 0
    FOUND = 1
    UNSURE = 2


@dataclass(frozen=True, slots=True, eq=False)
class SliceSet:
    """Slices: ``images`` float32 ``[n, 128, 128]`` in -1..1; ``heads`` bool and ``marks`` (Mark) of the same shape.

    For other models than the project's own the images may be squares of another size.

    ``heights[n]`` is how far up the stack slice ``n`` lies (0 lowest, 1 highest); ``sources[n]`` names its patient or
    phantom; ``below[n]`` and ``above[n]`` are the rows of its neighbours (its own where there is none); ``weights[n]``
    says how often it is drawn and ``subjects[n]`` what it shows.
    """

    images: NDArray[np.float32]
    heads: NDArray[np.bool_]
    marks: NDArray[np.uint8]
    heights: NDArray[np.float32]
    sources: tuple[str, ...]
    below: NDArray[np.intp]
    above: NDArray[np.intp]
    weights: NDArray[np.float64]
    subjects: tuple[Subject, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Pixels along each side of an image."""
        return int(self.images.shape[-1])

    def joined(self, other: SliceSet) -> SliceSet:
        """Return the slices of both sets, those of this one first."""
        return SliceSet(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.heads, other.heads]),
            np.concatenate([self.marks, other.marks]),
            np.concatenate([self.heights, other.heights]),
            self.sources + other.sources,
            np.concatenate([self.below, other.below + len(self)]),
            np.concatenate([self.above, other.above + len(self)]),
            np.concatenate([self.weights, other.weights]),
            self.subjects + other.subjects,
        )

    def showing(self, subject: Subject, *, share: float) -> SliceSet:
        """Return the slices as showing ``subject``, each drawn with an equal part of ``share``."""
        weights = np.full(len(self), share / max(1, len(self)))
        return replace(self, weights=weights, subjects=(subject,) * len(self))


def tumor_free(mask: NDArray[np.bool_], *, margin: int = MASK_MARGIN) -> NDArray[np.bool_]:
    """Return for each slice of ``mask [z, y, x]`` whether no tumour lies within ``margin`` slices of it."""
    with_tumor = np.asarray(mask.any(axis=(1, 2)))
    return ~ndimage.binary_dilation(with_tumor, iterations=margin) if with_tumor.any() else ~with_tumor


def patient_files(folder: Path, *wanted: Role) -> list[Path]:
    """Return the ``.npz`` cases of patients with one of the roles; raises TrainingDataMissing where there is none."""
    found = [path for path in sorted(folder.glob("*.npz")) if role(named(path.stem)) in wanted]
    if not found:
        names = " or ".join(wanted)
        raise TrainingDataMissing(
            f"no {names} patients under {folder.name}: expected PATIENT.npz with flair and mask, enough of them that "
            "some of each role are there (by the digest of the name a ninth tunes, a ninth is kept out)"
        )
    return found


def load(folder: Path, wanted: Role = Role.TRAIN) -> SliceSet:
    """Return the tumour-free slices of all patients of one role; raises TrainingDataMissing."""
    sets = []
    for path in patient_files(folder, wanted):
        with np.load(path) as case:
            voxels, mask = case["flair"].astype(np.float32), case["mask"].astype(bool)
        sets.append(from_stack(voxels, path.stem, wanted=tumor_free(mask)))
    return reduce(SliceSet.joined, sets)


def from_stack(
    voxels: NDArray[np.float32],
    source: str,
    *,
    pixel_mm: tuple[float, float] = (1.0, 1.0),
    wanted: NDArray[np.bool_] | None = None,
    modality: str = "MR",
) -> SliceSet:
    """Return those of the ``wanted`` slices (default: all) of a stack ``[z, y, x]`` that show enough of a head."""
    found = grid.find_crop(voxels, pixel_mm, modality=modality)
    images = np.empty((0, GRID, GRID), np.float32) if found is None else grid.to_model(voxels, found, GRID)
    return from_framed(images, grid.skull_masks(images), source, wanted=wanted)


def from_framed(
    images: NDArray[np.float32], heads: NDArray[np.bool_], source: str, *, wanted: NDArray[np.bool_] | None = None
) -> SliceSet:
    """Return those of the ``wanted`` slices (default: all) of a framed stack (-1..1) that show enough of a head."""
    shown = heads.mean(axis=(1, 2)) >= MINIMUM_HEAD
    heights = np.cumsum(shown, dtype=np.float32) / max(1, int(shown.sum()))
    keep = shown if wanted is None else shown & wanted
    below, above = _neighbours(np.flatnonzero(keep))
    count = int(keep.sum())
    weights, subjects = np.ones(count), (HEAD_MR,) * count
    marks = np.full((count, *images.shape[1:]), Mark.FREE, np.uint8)
    return SliceSet(images[keep], heads[keep], marks, heights[keep], (source,) * count, below, above, weights, subjects)


def _neighbours(positions: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the slices directly below and above each; its own row where there is none in the set."""
    rows = np.arange(len(positions), dtype=np.intp)
    touching = np.diff(positions) == 1
    below, above = rows.copy(), rows.copy()
    below[1:][touching] = rows[:-1][touching]
    above[:-1][touching] = rows[1:][touching]
    return below, above
