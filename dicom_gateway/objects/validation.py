"""A quick check of what oncue wrote, in process and before it leaves; the long one is in the tests, with dciodvfy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SegmentationStorage,
)

from dicom_gateway.errors import ObjectInvalid

_COMMON = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "InstanceNumber",
    "Manufacturer",
    "ContentDate",
    "ContentTime",
)
_DOCUMENT = (
    "ValueType",
    "ConceptNameCodeSequence",
    "ContentSequence",
    "CompletionFlag",
    "VerificationFlag",
    "CurrentRequestedProcedureEvidenceSequence",
)
# Type 1 of each IOD, beyond the common ones: these carry a value. Type 2 below are there, if empty.
_WITH_VALUE: Mapping[str, tuple[str, ...]] = {
    SegmentationStorage: (
        "SegmentationType",
        "SegmentSequence",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "DimensionIndexSequence",
        "ReferencedSeriesSequence",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
        "ContentLabel",
        "PixelData",
    ),
    ParametricMapStorage: (
        "FrameOfReferenceUID",
        "ImageType",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "DimensionIndexSequence",
        "ReferencedSeriesSequence",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
        "ContentLabel",
        "FloatPixelData",
    ),
    BasicTextSRStorage: _DOCUMENT,
    Comprehensive3DSRStorage: _DOCUMENT,
    EncapsulatedPDFStorage: (
        "ConversionType",
        "BurnedInAnnotation",
        "SourceInstanceSequence",
        "DocumentTitle",
        "MIMETypeOfEncapsulatedDocument",
        "EncapsulatedDocument",
    ),
    KeyObjectSelectionDocumentStorage: (
        "ValueType",
        "ConceptNameCodeSequence",
        "ContentSequence",
        "CurrentRequestedProcedureEvidenceSequence",
    ),
}
_PRESENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID")


def check_object(dataset: Dataset, *, references: Iterable[str], inherited: Collection[str] = ()) -> None:
    """Raise ObjectInvalid unless the object may leave.

    It must be of a SOP class that oncue writes, hold its required attributes, have valid UIDs throughout but for the
    ``inherited`` ones, which stand as the source has them, refer to every SOP Instance UID in ``references``, and have
    voxels in each segment and a place or a source for each frame as a segmentation, or values in 0..1 as a parametric
    map.
    """
    required = _WITH_VALUE.get(dataset.get("SOPClassUID", ""))
    if required is None:
        raise ObjectInvalid("the object is of no SOP class that oncue writes")
    _require_values(dataset, _COMMON + required)
    _require_valid_uids(dataset, inherited)
    if dataset.SOPClassUID == SegmentationStorage:
        _require_voxels(dataset)
        _require_places(dataset)
    elif dataset.SOPClassUID == ParametricMapStorage:
        _require_shares(dataset)
    if dataset.SOPClassUID in (SegmentationStorage, ParametricMapStorage):
        _require_references(set(references), _image_references(dataset))
    elif dataset.SOPClassUID == EncapsulatedPDFStorage:
        _require_page(dataset)
        named = {str(reference.ReferencedSOPInstanceUID) for reference in dataset.SourceInstanceSequence}
        _require_references(set(references), named)
    else:
        evidence = _evidence(dataset)
        _require_references(set(references), evidence)
        _require_references(set(_content_references(dataset)), evidence)


def _require_values(dataset: Dataset, required: Iterable[str]) -> None:
    for keyword in required:
        if dataset.get(keyword) in (None, "", b"") or (keyword.endswith("Sequence") and not dataset[keyword].value):
            raise ObjectInvalid(f"the object has no {keyword}")
    for keyword in _PRESENT:
        if keyword not in dataset:
            raise ObjectInvalid(f"the object lacks {keyword}, which may be empty but must be there")


def _require_valid_uids(dataset: Dataset, inherited: Collection[str]) -> None:
    for element in dataset.iterall():
        values = element.value if element.VM > 1 else [element.value]
        if element.VR == "UI" and not all(not uid or uid in inherited or uid.is_valid for uid in values):
            raise ObjectInvalid(f"{element.keyword or element.tag} is not a valid UID")


def _require_voxels(dataset: Dataset) -> None:
    """Check that the frames are those promised, none of them empty, and that each segment has one."""
    frames = dataset.PerFrameFunctionalGroupsSequence
    packed = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    voxels = dataset.Rows * dataset.Columns
    if len(frames) != dataset.NumberOfFrames or 8 * len(packed) < voxels * len(frames):
        raise ObjectInvalid("the segmentation does not hold the frames that it promises")
    if not all(_has_voxel(packed, voxels * place, voxels) for place in range(len(frames))):
        raise ObjectInvalid("the segmentation has an empty frame")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    drawn = {
        int(
            (frame if "SegmentIdentificationSequence" in frame else shared)
            .SegmentIdentificationSequence[0]
            .ReferencedSegmentNumber
        )
        for frame in frames
    }
    if drawn != {int(segment.SegmentNumber) for segment in dataset.SegmentSequence}:
        raise ObjectInvalid("the segmentation has a segment without a frame")


def _has_voxel(packed: NDArray[np.uint8], start: int, count: int) -> bool:
    """Say whether any of some bits is set; one frame at a time, since organs in a long series have thousands."""
    first, skipped = divmod(start, 8)
    bits = np.unpackbits(packed[first : -(-(start + count) // 8)], bitorder="little")
    return bool(bits[skipped : skipped + count].any())


def _require_places(dataset: Dataset) -> None:
    """Check that frames lie in a frame of reference, or else are each bound to a source image (PS3.3 A.51.3)."""
    if dataset.get("FrameOfReferenceUID"):
        return
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        derivations = frame.get("DerivationImageSequence", ())
        if not any(derivation.get("SourceImageSequence") for derivation in derivations):
            raise ObjectInvalid("the segmentation has no FrameOfReferenceUID and a frame without a source image")


def _require_shares(dataset: Dataset) -> None:
    """Check that the frames are those promised, and that every value lies in 0..1 as the mapping says."""
    values = np.frombuffer(dataset.FloatPixelData, dtype="<f4")
    if len(values) != dataset.Rows * dataset.Columns * dataset.NumberOfFrames:
        raise ObjectInvalid("the parametric map does not hold the frames that it promises")
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise ObjectInvalid("the parametric map holds values outside 0 to 1")


def _require_page(dataset: Dataset) -> None:
    """Check that the document is a PDF file from its first line to its last."""
    content = bytes(dataset.EncapsulatedDocument)
    if not content.startswith(b"%PDF-") or not content.rstrip(b"\0\r\n").endswith(b"%%EOF"):
        raise ObjectInvalid("the encapsulated document is no whole PDF file")


def _require_references(wanted: set[str], named: set[str]) -> None:
    if missing := len(wanted - named):
        raise ObjectInvalid(f"the object does not name {missing} of the instances that it is about")


def _image_references(dataset: Dataset) -> set[str]:
    return {
        str(reference.ReferencedSOPInstanceUID)
        for series in dataset.ReferencedSeriesSequence
        for reference in series.ReferencedInstanceSequence
    }


def _evidence(dataset: Dataset) -> set[str]:
    return {
        str(reference.ReferencedSOPInstanceUID)
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def _content_references(item: Dataset) -> Iterator[str]:
    for reference in item.get("ReferencedSOPSequence", ()):
        yield str(reference.ReferencedSOPInstanceUID)
    for child in item.get("ContentSequence", ()):
        yield from _content_references(child)
