"""The SOP class of each kind of object that oncue writes."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from storage.domain import ObjectKind

LABEL_MAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
"""Label Map Segmentation Storage, which pydicom's dictionary does not know yet."""

SOP_CLASSES: Mapping[ObjectKind, UID] = {
    ObjectKind.SEG: SegmentationStorage,
    ObjectKind.LABELMAP: LABEL_MAP_SEGMENTATION_STORAGE,
    ObjectKind.SR: Comprehensive3DSRStorage,
    ObjectKind.SC: SecondaryCaptureImageStorage,
    ObjectKind.GSPS: GrayscaleSoftcopyPresentationStateStorage,
    ObjectKind.KO: KeyObjectSelectionDocumentStorage,
    ObjectKind.PDF: EncapsulatedPDFStorage,
    ObjectKind.PM: ParametricMapStorage,
    ObjectKind.REJECTION: KeyObjectSelectionDocumentStorage,
}
