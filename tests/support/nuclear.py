"""Builders of PET series, classic, enhanced and converted, and of nuclear medicine images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import LegacyConvertedEnhancedPETImageStorage, NuclearMedicineImageStorage

from tests.support.dicom import SeriesPlan, enhanced, series, set_pixels

PET_PLAN = SeriesPlan(key="pet", modality="PT", description="PET AC", slope=2.0, spacing_mm=(3.0, 4.0, 4.0))
SUV_FACTOR = 74_000.0 / (370e6 * 2.0 ** (-3600.0 / 6588.0))
"""What the rescaled units of these series must be multiplied by: 74 kg, 370 MBq, an hour, fluorine."""

_CLASSIC = ("Units", "DecayCorrection", "CorrectedImage", "PatientWeight", "RadiopharmaceuticalInformationSequence")


def pet(plan: SeriesPlan = PET_PLAN) -> list[Dataset]:
    """Build a PET series in Bq/ml, corrected to the start of the scan, an hour after the injection."""
    images = series(plan)
    for image in images:
        _describe(image)
        image.Units, image.DecayCorrection, image.CorrectedImage = "BQML", "START", ["DECY", "ATTN", "SCAT"]
        image.SeriesDate = image.AcquisitionDate = "20260102"
        image.SeriesTime = image.AcquisitionTime = "100000"
        image.RescaleSlope, image.RescaleIntercept = plan.slope, 0
    return images


def enhanced_pet(plan: SeriesPlan = PET_PLAN, *, real_slope: float | None = None) -> Dataset:
    """Build the same as one enhanced instance; ``real_slope`` is that of its real world value mapping."""
    image = enhanced(plan)
    _describe(image)
    image.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = "370"  # here in MBq
    image.DecayCorrected = image.AttenuationCorrected = "YES"
    image.DecayCorrectionDateTime = "20260102100000"
    units, mapping = Dataset(), Dataset()
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = "Bq/ml", "UCUM", "Becquerels/milliliter"
    mapping.MeasurementUnitsCodeSequence = Items([units])
    mapping.RealWorldValueSlope = plan.slope if real_slope is None else real_slope
    mapping.RealWorldValueIntercept = 0.0
    image.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = Items([mapping])
    return image


def converted_pet(plan: SeriesPlan = PET_PLAN) -> Dataset:
    """Build the same as a legacy converted instance, which keeps the classic attributes in groups of their own."""
    classic, image = pet(plan), enhanced(plan)
    image.SOPClassUID = LegacyConvertedEnhancedPETImageStorage
    shared = Dataset()
    for keyword in _CLASSIC:
        shared[keyword] = classic[0][keyword]
    image.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = Items([shared])
    for groups, single in zip(image.PerFrameFunctionalGroupsSequence, classic, strict=True):
        own = Dataset()
        for keyword in ("AcquisitionDate", "AcquisitionTime"):
            own[keyword] = single[keyword]
        groups.UnassignedPerFrameConvertedAttributesSequence = Items([own])
    return image


def _describe(image: Dataset) -> None:
    isotope = Dataset()
    isotope.RadionuclideTotalDose, isotope.RadionuclideHalfLife = "370000000", "6588"
    isotope.RadiopharmaceuticalStartDateTime = "20260102090000"
    image.RadiopharmaceuticalInformationSequence = Items([isotope])
    image.PatientWeight = "74"


NM_PLAN = SeriesPlan(key="nm", description="SPECT", spacing_mm=(4.0, 2.0, 2.5))


def nuclear(plan: SeriesPlan = NM_PLAN, *, kind: str = "RECON TOMO", step_mm: float | None = None) -> Dataset:
    """Build a nuclear medicine instance with a plan's slices as frames; ``kind`` is the third value of ImageType."""
    values: NDArray[np.uint16] = plan.values()
    image = series(replace(plan, modality="MR"))[0]
    image.SOPClassUID, image.Modality = NuclearMedicineImageStorage, "NM"
    del image.ImagePositionPatient, image.ImageOrientationPatient
    image.ImageType = ["DERIVED" if kind.startswith("RECON") else "ORIGINAL", "PRIMARY", kind, "EMISSION"]
    image.NumberOfFrames = len(values)
    image.SpacingBetweenSlices = plan.spacing_mm[0] if step_mm is None else step_mm
    image.SliceVector = list(range(1, len(values) + 1))
    detector = Dataset()
    detector.ImagePositionPatient = plan.position(0)
    detector.ImageOrientationPatient = [*plan.directions[0], *plan.directions[1]]
    image.DetectorInformationSequence = Items([detector])
    set_pixels(image, values)
    return image
