"""A quick check of what oncue wrote, in process and before it leaves; the long one is in the tests, with dciodvfy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.pixel_rules import require_colours, require_labels, require_shares, require_voxels
from dicom_gateway.objects.sop_classes import LABEL_MAP_SEGMENTATION_STORAGE

_COMMON = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "InstanceNumber",
    "Manufacturer",
)
# Type 1 of each IOD, beyond the common ones: these carry a value. Type 2 below are there, if empty.
_MADE_WHEN = ("ContentDate", "ContentTime")
_MULTI_FRAME = (
    *_MADE_WHEN,
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "ReferencedSeriesSequence",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "ContentLabel",
)
_WITH_VALUE: Mapping[str, tuple[str, ...]] = {
    SegmentationStorage: (*_MULTI_FRAME, "SegmentationType", "SegmentSequence", "DimensionIndexSequence", "PixelData"),
    LABEL_MAP_SEGMENTATION_STORAGE: (*_MULTI_FRAME, "SegmentationType", "SegmentSequence", "PixelData"),
    ParametricMapStorage: (
        *_MULTI_FRAME,
        "FrameOfReferenceUID",
        "ImageType",
        "DimensionIndexSequence",
        "FloatPixelData",
    ),
    SecondaryCaptureImageStorage: (
        *_MADE_WHEN,
        "ConversionType",
        "ImageType",
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "BitsAllocated",
        "SourceImageSequence",
        "PixelData",
    ),
    GrayscaleSoftcopyPresentationStateStorage: (
        "ContentLabel",
        "PresentationCreationDate",
        "PresentationCreationTime",
        "PresentationLUTShape",
        "ReferencedSeriesSequence",
        "DisplayedAreaSelectionSequence",
        "GraphicLayerSequence",
        "GraphicAnnotationSequence",
    ),
    EncapsulatedPDFStorage: (
        *_MADE_WHEN,
        "BurnedInAnnotation",
        "MIMETypeOfEncapsulatedDocument",
        "EncapsulatedDocument",
    ),
    Comprehensive3DSRStorage: (
        *_MADE_WHEN,
        "ValueType",
        "ConceptNameCodeSequence",
        "ContentSequence",
        "CompletionFlag",
        "VerificationFlag",
        "CurrentRequestedProcedureEvidenceSequence",
    ),
    KeyObjectSelectionDocumentStorage: (
        *_MADE_WHEN,
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
    ``inherited`` ones, which stand as the source has them, refer to every SOP Instance UID in ``references``, and hold
    to what its kind asks of it besides: pixels as promised, frames with a place or a source, graphics inside images.
    """
    required = _WITH_VALUE.get(dataset.get("SOPClassUID", ""))
    if required is None:
        raise ObjectInvalid("the object is of no SOP class that oncue writes")
    _require_values(dataset, _COMMON + required)
    _require_valid_uids(dataset, inherited)
    for rule in _RULES.get(dataset.SOPClassUID, ()):
        rule(dataset)
    _require_references(set(references), _NAMED.get(dataset.SOPClassUID, _evidence)(dataset))


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


def _require_places(dataset: Dataset) -> None:
    """Check that frames lie in a frame of reference, or else are each bound to a source image (PS3.3 A.51.3)."""
    if dataset.get("FrameOfReferenceUID"):
        return
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        derivations = frame.get("DerivationImageSequence", ())
        if not any(derivation.get("SourceImageSequence") for derivation in derivations):
            raise ObjectInvalid("the segmentation has no FrameOfReferenceUID and a frame without a source image")


def _require_references(wanted: set[str], named: set[str]) -> None:
    if missing := len(wanted - named):
        raise ObjectInvalid(f"the object does not name {missing} of the instances that it is about")


def _require_evidence(dataset: Dataset) -> None:
    """Check that what the content of a document refers to stands in its evidence too (PS3.3 C.17.2.3)."""
    _require_references(set(_content_references(dataset)), _evidence(dataset))


def _require_graphics(dataset: Dataset) -> None:
    """Check that graphics lie in layers that there are, on images that the state is for, and inside of them."""
    layers = {layer.GraphicLayer for layer in dataset.GraphicLayerSequence}
    images = _state_references(dataset)
    right, bottom = dataset.DisplayedAreaSelectionSequence[0].DisplayedAreaBottomRightHandCorner
    for annotation in dataset.GraphicAnnotationSequence:
        named = {str(reference.ReferencedSOPInstanceUID) for reference in annotation.ReferencedImageSequence}
        if annotation.GraphicLayer not in layers or not named <= images:
            raise ObjectInvalid("the presentation state has an annotation without its layer or its image")
        for graphic in annotation.get("GraphicObjectSequence", ()):
            data = graphic.GraphicData
            if len(data) != 2 * graphic.NumberOfGraphicPoints or min(data) < 0.0:
                raise ObjectInvalid("the presentation state has a graphic without the points that it promises")
            if max(data[::2]) > right or max(data[1::2]) > bottom:
                raise ObjectInvalid("the presentation state has a graphic outside its image")


def _require_document(dataset: Dataset) -> None:
    if dataset.MIMETypeOfEncapsulatedDocument != "application/pdf" or dataset.EncapsulatedDocument[:5] != b"%PDF-":
        raise ObjectInvalid("the encapsulated document is no PDF")


def _state_references(dataset: Dataset) -> set[str]:
    return {
        str(reference.ReferencedSOPInstanceUID)
        for series in dataset.ReferencedSeriesSequence
        for reference in series.ReferencedImageSequence
    }


def _source_references(keyword: str) -> Callable[[Dataset], set[str]]:
    return lambda dataset: {str(reference.ReferencedSOPInstanceUID) for reference in dataset.get(keyword, ())}


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


_RULES: Mapping[str, tuple[Callable[[Dataset], None], ...]] = {
    SegmentationStorage: (require_voxels, _require_places),
    LABEL_MAP_SEGMENTATION_STORAGE: (require_labels, _require_places),
    ParametricMapStorage: (require_shares,),
    SecondaryCaptureImageStorage: (require_colours,),
    GrayscaleSoftcopyPresentationStateStorage: (_require_graphics,),
    EncapsulatedPDFStorage: (_require_document,),
    Comprehensive3DSRStorage: (_require_evidence,),
    KeyObjectSelectionDocumentStorage: (_require_evidence,),
}
_NAMED: Mapping[str, Callable[[Dataset], set[str]]] = {
    SegmentationStorage: _image_references,
    LABEL_MAP_SEGMENTATION_STORAGE: _image_references,
    ParametricMapStorage: _image_references,
    SecondaryCaptureImageStorage: _source_references("SourceImageSequence"),
    GrayscaleSoftcopyPresentationStateStorage: _state_references,
    EncapsulatedPDFStorage: _source_references("SourceInstanceSequence"),
}
"""Where an object names other instances; documents name them in their evidence."""
