"""Headers of stored objects, read for search: numbers and codes fast, texts and sequences where they are wanted."""

from __future__ import annotations

import math
import mmap
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_gateway.errors import UndecodableObject
from dicom_gateway.pydicom_faults import FAULTS, IN_MEMORY
from dicom_gateway.receiving.elements import read_header
from dicom_gateway.usable_text import with_usable_text
from storage.attributes import Attributes, Element, element

OF_STUDY = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "StudyDescription",
    "ProcedureCodeSequence",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "PatientComments",
    "StudyID",
)
"""What answers show of studies and patients (PS3.4 Tables C.6-1, C.6-2 and C.6-5)."""
OF_SERIES = (
    "SeriesDate",
    "SeriesTime",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "StationName",
    "SeriesDescription",
    "PerformingPhysicianName",
    "OperatorsName",
    "BodyPartExamined",
    "ProtocolName",
    "PatientPosition",
    "SeriesNumber",
    "Laterality",
    "FrameOfReferenceUID",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepID",
    "PerformedProcedureStepDescription",
    "RequestAttributesSequence",
)
OF_IMAGE = (
    "ImageType",
    "AcquisitionDate",
    "ContentDate",
    "AcquisitionTime",
    "ContentTime",
    "AcquisitionNumber",
    "InstanceNumber",
    "SliceLocation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
)
"""Numbers and codes, whose values need no character set."""
OF_DOCUMENT = (
    *OF_IMAGE,
    "ConceptNameCodeSequence",
    "CompletionFlag",
    "VerificationFlag",
    "ContentLabel",
    "ContentDescription",
    "DocumentTitle",
)
_PREAMBLE_BYTES = 132
_META_LENGTH = b"\x02\x00\x00\x00UL\x04\x00"
_MOST_CHARACTERS = 1024
_LONGEST_ELEMENT = 64 << 10
_US_BYTES = 2


def read_image(path: Path, transfer_syntax_uid: str) -> Attributes:
    """Return numbers and codes of an image, without building anything of its header; empty where it cannot be read."""
    order: Literal["little", "big"] = "little" if UID(transfer_syntax_uid).is_little_endian else "big"
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = read_header(content, transfer_syntax_uid, _OF_IMAGE_VRS.keys(), start=_data_set_at(content))
    except (OSError, ValueError, UndecodableObject):
        return Attributes({})
    said = {tag: _said(_OF_IMAGE_VRS[tag], value, order) for tag, value in found.items()}
    return Attributes({f"{tag:08X}": one for tag, one in said.items() if one is not None})


def read_header_of(path: Path, keywords: tuple[str, ...]) -> Attributes:
    """Return some attributes of an object; those that are none of their VR are left out, all where it is unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # departures from the standard are judged by value
        try:
            tags: list[Any] = ["SpecificCharacterSet", *keywords]
            header = with_usable_text(dcmread(path, stop_before_pixels=True, specific_tags=tags))
        except (*FAULTS, OSError):
            return Attributes({})
        found = {f"{tag_for_keyword(keyword):08X}": _element(header, keyword) for keyword in keywords}
    return Attributes({tag: one for tag, one in found.items() if one is not None})


def _element(header: Dataset, keyword: str) -> Element | None:
    """Return one attribute in the JSON model; None where it is missing, empty, or none of its VR."""
    try:
        if keyword not in header or header[keyword].is_empty:
            return None
        header_element = header[keyword]
        if header_element.VR == "SQ":
            for item in header_element.value:
                item.remove_private_tags()
        found: dict[str, Any] = header_element.to_json_dict(None, 1 << 30)
    except IN_MEMORY:
        return None
    return found if len(str(found)) <= _LONGEST_ELEMENT else None


def _data_set_at(content: mmap.mmap) -> int:
    """Return where the data set of a file begins (PS3.10 7.1); ValueError where the file does not say."""
    head = content[_PREAMBLE_BYTES - 4 : _PREAMBLE_BYTES + 12]
    if head[:4] != b"DICM" or head[4:12] != _META_LENGTH:
        raise ValueError("no file meta information with its length")
    return _PREAMBLE_BYTES + 12 + int.from_bytes(head[12:16], "little")


def _said(vr: str, value: bytes, order: Literal["little", "big"]) -> Element | None:
    """Return what the raw value of a number or a code says; None where it says nothing, or is none."""
    if vr == "US":
        return element(vr, int.from_bytes(value, order)) if len(value) == _US_BYTES else None
    try:
        parts = [part.strip(" \0") for part in value.decode("ascii").split("\\")]
        values = [_CONVERTED.get(vr, str)(part) if part else None for part in parts]
    except ValueError:
        return None
    is_sound = any(parts) and len(value) <= _MOST_CHARACTERS and all(part.isprintable() for part in parts)
    return element(vr, *values) if is_sound else None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


_CONVERTED: Mapping[str, Callable[[str], Any]] = {"IS": int, "DS": _finite}
_OF_IMAGE_VRS: Mapping[int, str] = {
    tag: dictionary_VR(tag) for tag in (tag_for_keyword(keyword) for keyword in OF_IMAGE) if tag is not None
}
