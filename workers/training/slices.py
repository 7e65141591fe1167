"""Slices to train on: tumour-free ones of the training patients, framed as the segmenter frames them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from workers.errors import TrainingDataMissing
from workers.segmentation import framing
from workers.training.patients import Role, role

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GRID = 128
"""Pixels along each side of the model's image."""
MASK_MARGIN = 2
"""Slices this close to a slice with tumour are not taken for tumour-free."""
MINIMUM_HEAD = 0.06
"""Share of the image that the head covers, for a slice to be worth training on."""


@dataclass(frozen=True, slots=True, eq=False)
class SliceSet:
    """Tumour-free slices: ``images`` float32 ``[n, 128, 128]`` in -1..1, ``heads`` bool of the same shape.

    ``levels[n]`` is how far up the stack slice ``n`` lies (0 lowest, 1 highest); ``sources[n]`` names its patient or
    phantom.
    """

    images: NDArray[np.float32]
    heads: NDArray[np.bool_]
    levels: NDArray[np.float32]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def joined(self, other: SliceSet) -> SliceSet:
        """Put another set's slices after this one's."""
        return SliceSet(
            np.concatenate([self.images, other.images]),
            np.concatenate([self.heads, other.heads]),
            np.concatenate([self.levels, other.levels]),
            self.sources + other.sources,
        )


def tumor_free(mask: NDArray[np.bool_], *, margin: int = MASK_MARGIN) -> NDArray[np.bool_]:
    """Tell for each slice of ``mask [z, y, x]`` whether no tumour lies within ``margin`` slices of it."""
    with_tumor = np.asarray(mask.any(axis=(1, 2)))
    return ~ndimage.binary_dilation(with_tumor, iterations=margin) if with_tumor.any() else ~with_tumor


def patient_files(folder: Path, wanted: Role) -> list[Path]:
    """List the ``.npz`` cases of one role, by patient; raises TrainingDataMissing where there is none."""
    found = [path for path in sorted(folder.glob("*.npz")) if role(path.stem) is wanted]
    if not found:
        raise TrainingDataMissing(f"no {wanted} patients under {folder.name}: expected PATIENT.npz with flair and mask")
    return found


def load(folder: Path, wanted: Role = Role.TRAIN) -> SliceSet:
    """Read the tumour-free slices of all patients of one role."""
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
) -> SliceSet:
    """Frame an axial stack ``[z, y, x]`` and take its ``wanted`` slices (all, if not told) that show enough head."""
    found = framing.find(voxels, pixel_mm)
    images = np.empty((0, GRID, GRID), np.float32) if found is None else framing.to_model(voxels, found, GRID)
    heads = np.stack([framing.head(image) for image in images]) if len(images) else np.empty((0, GRID, GRID), bool)
    shown = heads.mean(axis=(1, 2)) >= MINIMUM_HEAD
    levels = np.cumsum(shown, dtype=np.float32) / max(1, int(shown.sum()))
    keep = shown if wanted is None else shown & wanted
    return SliceSet(images[keep], heads[keep], levels[keep], (source,) * int(keep.sum()))
