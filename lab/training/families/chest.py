"""Patches of lung from a whole chest CT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydicom import dcmread
from scipy import ndimage

from lab.cases import as_volume
from workers.segmentation.framing import frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from workers.segmentation.families import Family

LUNG_BELOW, TISSUE_ABOVE = 0.35, 0.5
"""Grey (0..1) of lung, and of what surrounds it."""
AIR_HU = -1000.0
"""Scanners mark what lies outside their field of view by lower values."""
LEAST_LUNG = 0.25
"""Share of a patch that must be lung."""


def patches(folder: Path, family: Family) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield overlapping stacks ``[z, side, side]`` of one series, with their bodies, where there is enough lung."""
    datasets = sorted((dcmread(path) for path in folder.iterdir()), key=lambda one: float(one.ImagePositionPatient[2]))
    voxels = np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in datasets])
    step_mm = abs(float(datasets[1].ImagePositionPatient[2]) - float(datasets[0].ImagePositionPatient[2]))
    rows_mm, columns_mm = (float(value) for value in datasets[0].PixelSpacing)
    volume = as_volume(np.maximum(voxels, AIR_HU).astype(np.float32), (step_mm, rows_mm, columns_mm), modality="CT")
    images, side = frame(volume, family).images, family.side
    body = np.stack([_body(image) for image in images])
    lung = body & ((ndimage.gaussian_filter(images, (0.0, 1.0, 1.0)) + 1.0) / 2.0 < LUNG_BELOW)
    for top in range(0, images.shape[1] - side + 1, side // 2):
        for left in range(0, images.shape[2] - side + 1, side // 2):
            part = (slice(None), slice(top, top + side), slice(left, left + side))
            wanted = lung[part].mean(axis=(1, 2)) >= LEAST_LUNG
            if wanted.any():
                yield np.ascontiguousarray(images[part][wanted]), np.ascontiguousarray(body[part][wanted])


def _body(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the chest of a slice, lungs included, without the table."""
    dense = ndimage.binary_opening((image + 1.0) / 2.0 > TISSUE_ABOVE, iterations=4)
    labels, count = ndimage.label(dense)
    if count == 0:
        return np.zeros(image.shape, dtype=bool)
    largest = labels == np.bincount(labels[dense]).argmax()
    return np.asarray(ndimage.binary_fill_holes(ndimage.binary_closing(largest, iterations=4)), dtype=bool)
