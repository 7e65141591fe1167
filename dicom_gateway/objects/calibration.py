"""What a report says of how sizes in a flat image were known."""

from __future__ import annotations

from highdicom.sr import QualitativeEvaluation
from pydicom.dataset import Dataset

from dicom_gateway.objects import codes
from dicom_gateway.objects.sources import stated_spacing
from storage.domain import Finding
from storage.volumes import Extent


def size_statements(finding: Finding, source: Dataset) -> list[QualitativeEvaluation]:
    """Say that no size is known, or that it was measured at the detector; nothing where millimetres are the patient's.

    A projection magnifies what lies away from its detector (PS3.3 10.7.1.3).
    """
    if finding.extent is Extent.UNKNOWN:
        return [QualitativeEvaluation(name=codes.CALIBRATION, value=codes.NOT_CALIBRATED)]
    if finding.extent is Extent.AREA and _at_detector(source):
        return [QualitativeEvaluation(name=codes.CALIBRATION, value=codes.DETECTOR_PLANE)]
    return []


def _at_detector(source: Dataset) -> bool:
    """Say whether the only spacing that a header gives is that of its detector."""
    detector = stated_spacing(source, "ImagerPixelSpacing")
    if detector is None or source.get("PixelSpacingCalibrationType"):
        return False
    return stated_spacing(source, "PixelSpacing") in (None, detector)
