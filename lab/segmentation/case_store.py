"""A store on disk for what is needed again after the last case: nothing of a whole data set stays in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab.segmentation.levels import in_steps
from lab.segmentation.predictions import Way

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.cases import LabelledCase
    from lab.segmentation.predictions import CasePredictions

    Plane = NDArray[np.float32]
    MaskPlane = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ShownSlice:
    """The slice of a case that shows most of its tumour, ``[y, x]``.

    ``image`` is in its own units; ``attention``, ``healthy`` and ``residual`` lie in 0..1.
    """

    z: int
    pixel_mm: tuple[float, float]
    image: Plane
    truth: MaskPlane
    found: MaskPlane
    attention: Plane
    healthy: Plane
    residual: Plane


@dataclass(frozen=True, slots=True, eq=False)
class Intensities:
    """The baseline's intensities in 255 steps, and the truth, both ``[z, y, x]``."""

    steps: NDArray[np.uint8]
    truth: MaskPlane


@dataclass(frozen=True, slots=True)
class CaseStore:
    """Keeps cases by number below a folder that its owner removes."""

    folder: Path

    def put(self, number: int, case: LabelledCase, predictions: CasePredictions) -> None:
        """Keep what later steps need of one case."""
        intensity = in_steps(predictions.by_way[Way.THRESHOLD_FIXED].scores)
        np.savez(self.folder / f"{number}-stack.npz", steps=intensity, truth=np.packbits(case.mask))
        shown = shown_slice_of(case, predictions)
        np.savez(
            self.folder / f"{number}-shown.npz",
            where=np.array([shown.z, *shown.pixel_mm]),
            masks=np.stack([shown.truth, shown.found]),
            maps=np.stack([shown.image, shown.attention, shown.healthy, shown.residual]),
        )

    def intensities(self, number: int) -> Intensities:
        """Return the intensities of one case."""
        with np.load(self.folder / f"{number}-stack.npz") as kept:
            steps = kept["steps"]
            truth = np.unpackbits(kept["truth"], count=steps.size).reshape(steps.shape).astype(bool)
        return Intensities(steps, truth)

    def shown(self, number: int) -> ShownSlice:
        """Return the slice to show of one case."""
        with np.load(self.folder / f"{number}-shown.npz") as kept:
            z, height_mm, width_mm = kept["where"].tolist()
            (truth, found), (image, attention, healthy, residual) = kept["masks"], kept["maps"]
        return ShownSlice(int(z), (height_mm, width_mm), image, truth, found, attention, healthy, residual)


def shown_slice_of(case: LabelledCase, predictions: CasePredictions) -> ShownSlice:
    """Return the slice with the most tumour; without any, that with the most found; without that, the middle one."""
    found = predictions.by_way[Way.METHOD].mask
    z = _telling_slice(case.mask, found)
    _, height_mm, width_mm = case.volume.geometry.spacing_mm
    return ShownSlice(
        z=z,
        pixel_mm=(height_mm, width_mm),
        image=case.volume.voxels[z],
        truth=case.mask[z],
        found=found[z],
        attention=predictions.by_way[Way.ATTENTION].scores[z],
        healthy=predictions.healthy[z],
        residual=predictions.by_way[Way.RESIDUAL].scores[z],
    )


def _telling_slice(truth: MaskPlane, found: MaskPlane) -> int:
    for mask in (truth, found):
        areas = mask.sum(axis=(1, 2))
        if areas.any():
            return int(areas.argmax())
    return len(truth) // 2
