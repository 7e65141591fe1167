"""What an instance is by its SOP class: part of a volume, an image of its own, an image that nobody reads, or none."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ImageKind(StrEnum):
    """Which way an instance is read.

    VOLUME: planes of a stack, or a stack in one instance. IMAGE: each single frame is an input of its own. UNREAD: it
    has pixels, but of a kind that is not analysed. NOT_AN_IMAGE: reports, key objects, presentation states,
    segmentations, radiotherapy objects, documents, waveforms, raw data, registrations.
    """

    VOLUME = "volume"
    IMAGE = "image"
    UNREAD = "unread"
    NOT_AN_IMAGE = "not_an_image"


_ROOT = "1.2.840.10008.5.1.4.1.1."

# The names of PS3.6 stand behind each UID.
_VOLUMES = (
    "2",  # CT Image
    "2.1",  # Enhanced CT Image
    "2.2",  # Legacy Converted Enhanced CT Image
    "4",  # MR Image
    "4.1",  # Enhanced MR Image
    "4.4",  # Legacy Converted Enhanced MR Image
    "20",  # Nuclear Medicine Image
    "128",  # Positron Emission Tomography Image
    "128.1",  # Legacy Converted Enhanced PET Image
    "130",  # Enhanced PET Image
)
_IMAGES = (
    "1",  # Computed Radiography Image
    "1.1",  # Digital X-Ray Image, For Presentation
    "1.1.1",  # Digital X-Ray Image, For Processing
    "1.2",  # Digital Mammography X-Ray Image, For Presentation
    "1.2.1",  # Digital Mammography X-Ray Image, For Processing
    "1.3",  # Digital Intra-Oral X-Ray Image, For Presentation
    "1.3.1",  # Digital Intra-Oral X-Ray Image, For Processing
    "3.1",  # Ultrasound Multi-frame Image
    "6.1",  # Ultrasound Image
    "7",  # Secondary Capture Image
    "7.2",  # Multi-frame Grayscale Byte Secondary Capture Image
    "7.3",  # Multi-frame Grayscale Word Secondary Capture Image
    "7.4",  # Multi-frame True Color Secondary Capture Image
    "12.1",  # X-Ray Angiographic Image
    "12.1.1",  # Enhanced XA Image
    "12.2",  # X-Ray Radiofluoroscopic Image
    "12.2.1",  # Enhanced XRF Image
)
_UNREAD = (
    "4.3",  # Enhanced MR Color Image
    "6.2",  # Enhanced US Volume
    "6.3",  # Photoacoustic Image
    "7.1",  # Multi-frame Single Bit Secondary Capture Image
    "13.1.1",  # X-Ray 3D Angiographic Image
    "13.1.2",  # X-Ray 3D Craniofacial Image
    "13.1.3",  # Breast Tomosynthesis Image
    "13.1.4",  # Breast Projection X-Ray Image, For Presentation
    "13.1.5",  # Breast Projection X-Ray Image, For Processing
    "14.1",  # Intravascular Optical Coherence Tomography Image, For Presentation
    "14.2",  # Intravascular Optical Coherence Tomography Image, For Processing
    "30",  # Parametric Map
    "77.1.1",  # VL Endoscopic Image
    "77.1.1.1",  # Video Endoscopic Image
    "77.1.2",  # VL Microscopic Image
    "77.1.2.1",  # Video Microscopic Image
    "77.1.3",  # VL Slide-Coordinates Microscopic Image
    "77.1.4",  # VL Photographic Image
    "77.1.4.1",  # Video Photographic Image
    "77.1.5.1",  # Ophthalmic Photography 8 Bit Image
    "77.1.5.2",  # Ophthalmic Photography 16 Bit Image
    "77.1.5.4",  # Ophthalmic Tomography Image
    "77.1.5.5",  # Wide Field Ophthalmic Photography Stereographic Projection Image
    "77.1.5.6",  # Wide Field Ophthalmic Photography 3D Coordinates Image
    "77.1.5.7",  # Ophthalmic Optical Coherence Tomography En Face Image
    "77.1.6",  # VL Whole Slide Microscopy Image
    "77.1.7",  # Dermoscopic Photography Image
    "77.1.8",  # Confocal Microscopy Image
    "77.1.9",  # Confocal Microscopy Tiled Pyramidal Image
    "481.1",  # RT Image
    "481.23",  # Enhanced RT Image
    "481.24",  # Enhanced Continuous RT Image
)

_KINDS: Mapping[str, ImageKind] = {
    _ROOT + suffix: kind
    for kind, suffixes in (
        (ImageKind.VOLUME, _VOLUMES),
        (ImageKind.IMAGE, _IMAGES),
        (ImageKind.UNREAD, _UNREAD),
    )
    for suffix in suffixes
}
_SECONDARY_CAPTURE = _ROOT + "7"


def kind_of(sop_class_uid: str) -> ImageKind:
    """Return which way an instance of a SOP class is read; a class that is not known here is NOT_AN_IMAGE."""
    return _KINDS.get(sop_class_uid, ImageKind.NOT_AN_IMAGE)


def is_read(sop_class_uid: str) -> bool:
    """Say whether an analysis may read instances of a SOP class, so that a late one opens a new revision."""
    return kind_of(sop_class_uid) in {ImageKind.VOLUME, ImageKind.IMAGE}


def classes_of(kind: ImageKind) -> frozenset[str]:
    """Return the SOP classes of a kind; those of NOT_AN_IMAGE are all others, and none is returned for it."""
    return frozenset(uid for uid, known in _KINDS.items() if known is kind)


def is_secondary_capture(sop_class_uid: str) -> bool:
    """Say whether a SOP class is a captured screen or picture, single-frame or multi-frame."""
    return sop_class_uid == _SECONDARY_CAPTURE or sop_class_uid.startswith(f"{_SECONDARY_CAPTURE}.")
