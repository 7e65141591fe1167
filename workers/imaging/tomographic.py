"""Where the slices of a reconstructed nuclear medicine image lie: told once, for the first slice and the step.

A Nuclear Medicine Image holds its frames without functional groups (PS3.3 C.8.4). Only a reconstruction (RECON TOMO)
is a stack of the patient; static, dynamic, gated, whole-body and raw tomographic frames are projections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from storage.volumes import Vector
from workers.imaging.decimals import decimal, decimals
from workers.imaging.planes import Plane

TOMOGRAPHIC_KEYWORDS = ("DetectorInformationSequence", "SliceVector", "SpacingBetweenSlices", "SliceThickness")
_KIND = slice(2, 3)
_RECONSTRUCTED = ("RECON TOMO",)
_VECTOR, _ORIENTATION = 3, 6


def is_reconstructed(image_type: Sequence[str]) -> bool:
    """Say whether the third value of ImageType (PS3.3 C.8.4.9.1.1) is that of a stack of slices."""
    return tuple(image_type[_KIND]) == _RECONSTRUCTED


def read_tomographic(dataset: Dataset) -> tuple[Plane, ...]:
    """Return one plane for each frame of a reconstruction, or none where its geometry is not told.

    Slice 1 lies at the detector's ImagePositionPatient; the others follow along row x column direction, or against it
    where SpacingBetweenSlices is negative (PS3.3 C.8.4.15.1.1). Call it inside ``parsing``.
    """
    image_type = dataset.get("ImageType")
    texts = image_type if isinstance(image_type, MultiValue) else ()
    detectors = dataset.get("DetectorInformationSequence")
    if not is_reconstructed([str(part).strip().upper() for part in texts]) or not detectors:
        return ()
    where = decimals(detectors[0], "ImagePositionPatient")
    cosines = decimals(detectors[0], "ImageOrientationPatient")
    spacing, step_mm, slices = decimals(dataset, "PixelSpacing"), _step_mm(dataset), _slices(dataset)
    if (len(where), len(cosines), len(spacing)) != (_VECTOR, _ORIENTATION, 2) or min(spacing) <= 0 or not step_mm:
        return ()
    row, column = np.array(cosines[:_VECTOR]), np.array(cosines[_VECTOR:])
    step = np.cross(row, column) * step_mm
    slope, intercept = decimal(dataset, "RescaleSlope"), decimal(dataset, "RescaleIntercept")
    return tuple(
        Plane(
            frame_number=frame,
            position_mm=_vector(np.array(where) + (number - 1) * step),
            row_direction=_vector(row),
            column_direction=_vector(column),
            pixel_spacing_mm=(spacing[0], spacing[1]),
            slope=1.0 if slope is None else slope,
            intercept=0.0 if intercept is None else intercept,
        )
        for frame, number in enumerate(slices, start=1)
    )


def _step_mm(dataset: Dataset) -> float | None:
    return decimal(dataset, "SpacingBetweenSlices") or decimal(dataset, "SliceThickness")


def _slices(dataset: Dataset) -> tuple[int, ...]:
    """Return the slice number of each frame, counted from 1; a vector that is none of them all is not believed."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    numbers = tuple(int(value) for value in decimals(dataset, "SliceVector"))
    return numbers if sorted(numbers) == list(range(1, frames + 1)) else tuple(range(1, frames + 1))


def _vector(values: np.ndarray) -> Vector:
    return (float(values[0]), float(values[1]), float(values[2]))
