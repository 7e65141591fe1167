"""The scale of an ultrasound image: regions of the screen, each with physical units of its own (PS3.3 C.8.5.5)."""

from __future__ import annotations

from enum import Enum

from pydicom.dataset import Dataset

from workers.imaging.decimals import decimal

_TWO_DIMENSIONAL = 1
_TISSUE_AND_FLOW = frozenset({1, 2})
_CENTIMETRES = 3
_MM_IN_CM = 10.0
_SAME = 0.01


class RegionScale(Enum):
    """What is said of the scale where it is not one pair of numbers."""

    NONE = "none"
    DIFFERENT = "different"


def read_region_scale(dataset: Dataset) -> tuple[float, float] | RegionScale:
    """Return ``(row, column)`` distances in millimetres that all two-dimensional tissue regions share.

    NONE where no such region is in centimetres in both directions; spectra, M-mode and plots are no tissue. DIFFERENT
    where the regions have scales of their own: a measure across the image would be right in one of them only.
    """
    scales = [scale for region in _regions(dataset) if (scale := _scale(region)) is not None]
    if not scales:
        return RegionScale.NONE
    first = scales[0]
    if any(abs(scale[axis] - first[axis]) > _SAME * first[axis] for scale in scales for axis in (0, 1)):
        return RegionScale.DIFFERENT
    return first


def _regions(dataset: Dataset) -> list[Dataset]:
    return [item for item in dataset.get("SequenceOfUltrasoundRegions") or [] if isinstance(item, Dataset)]


def _scale(region: Dataset) -> tuple[float, float] | None:
    """Return one region's distances, or None where it is no tissue in centimetres; deltas may be negative."""
    if decimal(region, "RegionSpatialFormat") != _TWO_DIMENSIONAL:
        return None
    if decimal(region, "RegionDataType") not in _TISSUE_AND_FLOW:
        return None
    units = (decimal(region, "PhysicalUnitsXDirection"), decimal(region, "PhysicalUnitsYDirection"))
    column, row = decimal(region, "PhysicalDeltaX"), decimal(region, "PhysicalDeltaY")
    if units != (_CENTIMETRES, _CENTIMETRES) or not column or not row:
        return None
    return abs(row) * _MM_IN_CM, abs(column) * _MM_IN_CM
