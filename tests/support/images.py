"""Builders of single images: projections, ultrasound and captures around any picture, as their modalities send them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    XRayAngiographicImageStorage,
)

from storage.uids import deterministic_uid

CLASSES = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "MG": DigitalMammographyXRayImageStorageForPresentation,
    "US": UltrasoundImageStorage,
    "XA": XRayAngiographicImageStorage,
    "OT": SecondaryCaptureImageStorage,
}
MG_FOR_PROCESSING = DigitalMammographyXRayImageStorageForProcessing


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """An image to build; ``key`` and ``number`` make its UID, ``sop_class`` is the modality's own where empty."""

    modality: str = "DX"
    key: str = "image"
    study: str = "study"
    number: int = 1
    sop_class: str = ""
    bits: int = 8

    @property
    def series_uid(self) -> str:
        return deterministic_uid("test-image-series", self.study, self.key)


def image(plan: ImagePlan, pixels: NDArray[np.integer], **attributes: object) -> Dataset:
    """Build an image around pixels ``[rows, columns]`` or ``[rows, columns, 3]``; ``attributes`` override its own."""
    instance = Dataset()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance.SOPClassUID = plan.sop_class or CLASSES[plan.modality]
    instance.SOPInstanceUID = deterministic_uid("test-image", plan.study, plan.key, str(plan.number))
    instance.StudyInstanceUID = deterministic_uid("test-study", plan.study)
    instance.SeriesInstanceUID = plan.series_uid
    instance.Modality, instance.SeriesDescription, instance.InstanceNumber = plan.modality, "Chest", plan.number
    instance.PatientName, instance.PatientID = "Doe^Test", "T1"
    instance.StudyDate, instance.StudyTime, instance.StudyID = "20200101", "120000", "1"
    instance.Manufacturer, instance.ImageType = "Test", ["ORIGINAL", "PRIMARY"]
    _set_pixels(instance, pixels, plan.bits)
    for keyword, value in attributes.items():
        setattr(instance, keyword, value)
    return instance


def _set_pixels(instance: Dataset, pixels: NDArray[np.integer], bits: int) -> None:
    colour = pixels.ndim == 3
    instance.Rows, instance.Columns = pixels.shape[:2]
    instance.SamplesPerPixel = 3 if colour else 1
    instance.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        instance.PlanarConfiguration = 0
    allocated = 8 if bits <= 8 else 16
    instance.BitsAllocated, instance.BitsStored, instance.HighBit = allocated, bits, bits - 1
    instance.PixelRepresentation = 0
    content = pixels.astype(np.uint8 if allocated == 8 else "<u2").tobytes()
    instance.add_new("PixelData", "OB" if allocated == 8 else "OW", content + b"\0" * (len(content) % 2))


def region(
    *,
    delta_cm: tuple[float, float] = (0.01, 0.02),
    units: tuple[int, int] = (3, 3),
    spatial: int = 1,
    data: int = 1,
    box: tuple[int, int, int, int] = (0, 0, 100, 100),
) -> Dataset:
    """Build an ultrasound region; ``delta_cm`` is (x, y) for each pixel, ``box`` its left, top, right, bottom."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = spatial, data, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = box
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm
    return item


def regions(items: Sequence[Dataset]) -> Items:
    """Return regions as the sequence of an image."""
    return Items(list(items))


def picture(file: Path, *, width: int = 256, colour: bool = False) -> NDArray[np.uint8]:
    """Return a picture file as grey levels or red, green and blue, at most ``width`` columns wide."""
    with Image.open(file) as opened:
        converted = opened.convert("RGB" if colour else "L")
        converted.thumbnail((width, width))
        return np.asarray(converted, dtype=np.uint8)


def drawn(rows: int = 40, columns: int = 30) -> NDArray[np.uint8]:
    """Return a drawn picture whose pixels differ, from 10 to 239, without a border of one value."""
    y, x = np.indices((rows, columns))
    return np.asarray(10 + (7 * y + 3 * x) % 230, dtype=np.uint8)
