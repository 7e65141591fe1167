"""A PET volume in standardised uptake values: what its headers say of dose, weight and decay, applied to its voxels."""

from __future__ import annotations

from dataclasses import replace

from numpy import float32
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage

from storage.objects import ObjectStore
from storage.volumes import FrameRef, Volume
from workers.errors import SuvUnknown
from workers.imaging.decimals import decimal
from workers.imaging.parsing import DEFAULT_LIMITS, ReadLimits, parsing, read_dataset
from workers.imaging.planes import PLANE_KEYWORDS, read_planes
from workers.imaging.suv import suv_factor

PET = "PT"
_PRIVATE_TAGS = (0x70530010, 0x70531000, 0x70531009)
_KEYWORDS: tuple[str | int, ...] = (
    "SOPClassUID",
    "Units",
    "SUVType",
    "CorrectedImage",
    "DecayCorrection",
    "PatientWeight",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "RadiopharmaceuticalInformationSequence",
    "DecayCorrected",
    "AttenuationCorrected",
    "DecayCorrectionDateTime",
    "NumberOfFrames",
    *_PRIVATE_TAGS,
    *PLANE_KEYWORDS,
)
_UNITS = {"Bq/ml": "BQML", "{SUVbw}g/ml": "GML", "g/ml{SUVbw}": "GML"}
"""Units of UCUM (PS3.16 CID 84) as the PET Series module names them."""
_DATE = len("YYYYMMDD")
_MOST_MBQ, _BQ_IN_MBQ = 1e5, 1e6


def in_uptake_values(volume: Volume, objects: ObjectStore, *, limits: ReadLimits = DEFAULT_LIMITS) -> Volume:
    """Return a PET volume in SUVbw (g/ml); a volume of another modality as it is.

    SuvUnknown names what is missing or contradicts another: activities alone cannot be compared between patients.
    """
    if volume.modality != PET:
        return volume
    digests = dict.fromkeys(frame.digest for frame in volume.frames)
    headers = {digest: read_dataset(objects, digest, limits=limits, keywords=_KEYWORDS) for digest in digests}
    with parsing(volume.frames[0].digest, doing="reading what uptake values are computed from"):
        factor = suv_factor([classic for header in headers.values() for classic in _as_classic(header)])
        voxels = _in_real_units(volume, headers)
    return replace(volume, voxels=voxels * float32(factor))


def _as_classic(header: Dataset) -> list[Dataset]:
    """Return an image's header as those of classic single-frame images, which is what the rules are written for."""
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class == EnhancedPETImageStorage:
        return [_from_enhanced(header)]
    if sop_class == LegacyConvertedEnhancedPETImageStorage:
        return _from_legacy(header)
    return [header]


def _from_enhanced(header: Dataset) -> Dataset:
    """Translate the Enhanced PET modules (PS3.3 C.8.22.4, C.8.22.6): one moment, units by real world value mapping."""
    corrected = [name for name, keyword in _CORRECTIONS if str(header.get(keyword, "")).strip().upper() == "YES"]
    moment = str(header.get("DecayCorrectionDateTime", "") or "")
    if not moment:
        raise SuvUnknown("DecayCorrectionDateTime (0018,9701) is missing")
    classic = Dataset()
    if "PatientWeight" in header:
        classic["PatientWeight"] = header["PatientWeight"]
    classic.RadiopharmaceuticalInformationSequence = Items(
        [_in_becquerels(item) for item in header.get("RadiopharmaceuticalInformationSequence") or []]
    )
    classic.Units = _units(header)
    classic.CorrectedImage = corrected
    classic.DecayCorrection = "START"
    classic.SeriesDate, classic.SeriesTime = moment[:_DATE], moment[_DATE:].partition("+")[0].partition("-")[0]
    return classic


def _in_becquerels(isotope: Dataset) -> Dataset:
    """Return an isotope with its dose in Bq: an enhanced image has it in MBq (PS3.3 C.8.22.4), a classic one in Bq.

    A writer that kept to Bq is believed, since so many MBq cannot be given.
    """
    dose = decimal(isotope, "RadionuclideTotalDose")
    if dose is None or dose > _MOST_MBQ:
        return isotope
    classic = Dataset()
    classic.update(isotope)
    classic.RadionuclideTotalDose = f"{dose * _BQ_IN_MBQ:.8g}"
    return classic


_CORRECTIONS = (("ATTN", "AttenuationCorrected"), ("DECY", "DecayCorrected"))


def _from_legacy(header: Dataset) -> list[Dataset]:
    """Lay the converted attributes of each frame over those of the image (PS3.3 C.7.6.16.2.25)."""
    shared = _first(header, "SharedFunctionalGroupsSequence")
    merged = []
    for groups in header.get("PerFrameFunctionalGroupsSequence") or []:
        classic = Dataset()
        for part in (
            header,
            _first(shared, "UnassignedSharedConvertedAttributesSequence"),
            _first(groups, "UnassignedPerFrameConvertedAttributesSequence"),
        ):
            classic.update(part)
        merged.append(classic)
    return merged


def _units(header: Dataset) -> str:
    """Return the units of the real values, one for all frames; nothing where none are told."""
    codes = {str(_first(item, "MeasurementUnitsCodeSequence").get("CodeValue", "")) for item in _mappings(header)}
    if len(codes) > 1:
        raise SuvUnknown(f"MeasurementUnitsCodeSequence (0040,08EA) differs between frames: {', '.join(sorted(codes))}")
    code = codes.pop() if codes else ""
    return _UNITS.get(code, code[:16]) or str(header.get("Units", "") or "")


def _mappings(header: Dataset) -> list[Dataset]:
    """Return the real world value mapping of each frame, its own or the shared one; none where any frame has none."""
    shared = _first(header, "SharedFunctionalGroupsSequence")
    found = [
        _first(groups, "RealWorldValueMappingSequence") or _first(shared, "RealWorldValueMappingSequence")
        for groups in header.get("PerFrameFunctionalGroupsSequence") or []
    ]
    return found if all(found) else []


def _in_real_units(volume: Volume, headers: dict[str, Dataset]) -> NDArray[float32]:
    """Replace the rescale of each frame by its real world value mapping, where it has one that differs."""
    voxels = volume.voxels
    for digest, header in headers.items():
        mappings, planes = _mappings(header), read_planes(header)
        for frame, mapping in enumerate(mappings):
            slope, intercept = decimal(mapping, "RealWorldValueSlope"), decimal(mapping, "RealWorldValueIntercept")
            if slope is None or intercept is None:
                raise SuvUnknown("RealWorldValueSlope (0040,9225) or RealWorldValueIntercept (0040,9224) is missing")
            plane = planes[frame]
            z = _slice_of(volume.frames, digest, frame + 1)
            if z is None or (slope, intercept) == (plane.slope, plane.intercept):
                continue
            voxels = voxels.copy() if voxels is volume.voxels else voxels
            voxels[z] = (voxels[z] - float32(plane.intercept)) / float32(plane.slope) * float32(slope) + float32(
                intercept
            )
    return voxels


def _slice_of(frames: tuple[FrameRef, ...], digest: str, number: int) -> int | None:
    return next(
        (z for z, frame in enumerate(frames) if frame.digest == digest and frame.frame_number in {None, number}), None
    )


def _first(dataset: Dataset, keyword: str) -> Dataset:
    items = dataset.get(keyword) or []
    item: Dataset = items[0] if items else Dataset()
    return item
