"""A volume in Hounsfield units as the CT images that a scanner would send of it."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from storage.volumes import Volume
from tests.support import dicom

_INTERCEPT = -1024.0


def ct_images(volume: Volume, *, description: str = "ABDOMEN") -> list[Dataset]:
    """Return a series of the abdomen, slice by slice; values are rounded, and kept within 12 bits from -1024 HU on."""
    geometry, (slices, rows, columns) = volume.geometry, volume.voxels.shape
    plan = dicom.SeriesPlan(
        key=volume.series_instance_uid,
        study=volume.study_instance_uid,
        modality="CT",
        description=description,
        shape=(slices, rows, columns),
        spacing_mm=geometry.spacing_mm,
        directions=(geometry.row_direction, geometry.column_direction),
        origin_mm=geometry.origin_mm,
        intercept=_INTERCEPT,
    )
    images = dicom.series(plan)
    for image, plane in zip(images, volume.voxels, strict=True):
        image.BodyPartExamined = "ABDOMEN"
        dicom.set_pixels(image, np.rint(plane - _INTERCEPT).clip(0, 4095).astype(np.uint16))
    return images
