"""How large a pixel of a projection, an ultrasound image or a capture is, and whether that is a size in the patient.

PS3.3 10.7.1.1 tells three meanings of PixelSpacing apart: corrected or calibrated in the patient, the same as at the
detector, or not told which. A size at the detector is larger than in the patient by the magnification of the beam. It
is used, since it is what every workstation measures with, and a note goes on record; where no size is told, nothing is
measured. All spacings are row, then column (10.7.1.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from storage.volumes import Extent
from workers.imaging.decimals import decimal, decimals
from workers.imaging.ultrasound_regions import RegionScale, read_region_scale

PIXEL_SIZE_KEYWORDS = (
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "ImagerPixelSpacing",
    "EstimatedRadiographicMagnificationFactor",
    "NominalScannedPixelSpacing",
    "SequenceOfUltrasoundRegions",
)
AT_DETECTOR = "spacing_at_detector"
UNEXPLAINED = "spacing_unexplained"
FROM_MAGNIFICATION = "spacing_from_magnification"
ON_FILM = "spacing_on_film"
REGIONS_DIFFER = "spacing_differs_between_regions"

_PROJECTIONS = frozenset({"CR", "DX", "MG", "IO", "PX", "RG", "XA", "RF"})
_CALIBRATED = frozenset({"FIDUCIAL", "GEOMETRY"})
_SMALLEST_MM, _LARGEST_MM = 0.001, 10.0
_LARGEST_MAGNIFICATION = 10.0
_SAME = 0.01


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Distance of rows and of columns in millimetres, or 1 where it is not known; ``note`` is a code for the record."""

    row_mm: float
    column_mm: float
    extent: Extent
    note: str = ""


def read_pixel_size(dataset: Dataset, *, modality: str) -> PixelSize:
    """Return the pixel size that is the nearest to one in the patient. Call it inside ``parsing``.

    In this order: regions of ultrasound (PS3.3 C.8.5.5), calibrated PixelSpacing, ImagerPixelSpacing over
    EstimatedRadiographicMagnificationFactor, ImagerPixelSpacing or NominalScannedPixelSpacing as it is, PixelSpacing.
    """
    regions = read_region_scale(dataset)
    if regions is RegionScale.DIFFERENT:
        return PixelSize(1.0, 1.0, Extent.UNKNOWN, REGIONS_DIFFER)
    if isinstance(regions, tuple):
        found = _area(regions)
        if found is not None:
            return found
    for source in _SOURCES:
        found = source(dataset, modality)
        if found is not None:
            return found
    return PixelSize(1.0, 1.0, Extent.UNKNOWN)


def _calibrated(dataset: Dataset, modality: str) -> PixelSize | None:
    """Take PixelSpacing where its type says so, where it differs from the detector's, or where there is no detector."""
    spacing = decimals(dataset, "PixelSpacing")
    detector = decimals(dataset, "ImagerPixelSpacing") or decimals(dataset, "NominalScannedPixelSpacing")
    kind = str(dataset.get("PixelSpacingCalibrationType", "") or "").strip().upper()
    if kind in _CALIBRATED or (detector and not _same(spacing, detector)) or modality not in _PROJECTIONS:
        return _area(spacing)
    return None


def _magnified(dataset: Dataset, _modality: str) -> PixelSize | None:
    factor = decimal(dataset, "EstimatedRadiographicMagnificationFactor")
    if factor is None or not 1.0 <= factor <= _LARGEST_MAGNIFICATION:
        return None
    spacing = decimals(dataset, "ImagerPixelSpacing")
    return _area(tuple(value / factor for value in spacing), FROM_MAGNIFICATION)


def _at_detector(dataset: Dataset, _modality: str) -> PixelSize | None:
    return _area(decimals(dataset, "ImagerPixelSpacing"), AT_DETECTOR)


def _unexplained(dataset: Dataset, _modality: str) -> PixelSize | None:
    return _area(decimals(dataset, "PixelSpacing"), UNEXPLAINED)


def _on_film(dataset: Dataset, _modality: str) -> PixelSize | None:
    return _area(decimals(dataset, "NominalScannedPixelSpacing"), ON_FILM)


_SOURCES: tuple[Callable[[Dataset, str], PixelSize | None], ...] = (
    _calibrated,
    _magnified,
    _at_detector,
    _on_film,
    _unexplained,
)


def _area(spacing: tuple[float, ...], note: str = "") -> PixelSize | None:
    """Return a pair of distances as a size, or None for what is no pair or cannot be a distance of pixels."""
    if len(spacing) != 2 or not all(_SMALLEST_MM <= value <= _LARGEST_MM for value in spacing):  # noqa: PLR2004 - a pair
        return None
    return PixelSize(spacing[0], spacing[1], Extent.AREA, note)


def _same(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return len(first) == len(second) and all(abs(a - b) <= _SAME * abs(b) for a, b in zip(first, second, strict=True))
