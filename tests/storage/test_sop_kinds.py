from __future__ import annotations

import pytest
from pydicom import uid
from pynetdicom import AllStoragePresentationContexts

from storage.sop_kinds import ImageKind, classes_of, is_read, is_secondary_capture, kind_of

_NO_IMAGES = {
    "report": uid.ComprehensiveSRStorage,
    "key object": uid.KeyObjectSelectionDocumentStorage,
    "presentation state": uid.GrayscaleSoftcopyPresentationStateStorage,
    "segmentation": uid.SegmentationStorage,
    "structure set": uid.RTStructureSetStorage,
    "plan": uid.RTPlanStorage,
    "dose": uid.RTDoseStorage,
    "pdf": uid.EncapsulatedPDFStorage,
    "waveform": uid.TwelveLeadECGWaveformStorage,
    "raw data": uid.RawDataStorage,
    "registration": uid.SpatialRegistrationStorage,
    "private": uid.UID("1.2.3.4.5"),
}


@pytest.mark.parametrize("sop_class", _NO_IMAGES.values(), ids=_NO_IMAGES)
def test_what_has_no_picture_of_the_patient_is_no_image(sop_class: str) -> None:
    assert kind_of(sop_class) is ImageKind.NOT_AN_IMAGE
    assert not is_read(sop_class)


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        (uid.CTImageStorage, ImageKind.VOLUME),
        (uid.EnhancedMRImageStorage, ImageKind.VOLUME),
        (uid.EnhancedPETImageStorage, ImageKind.VOLUME),
        (uid.NuclearMedicineImageStorage, ImageKind.VOLUME),
        (uid.DigitalMammographyXRayImageStorageForPresentation, ImageKind.IMAGE),
        (uid.UltrasoundMultiFrameImageStorage, ImageKind.IMAGE),
        (uid.SecondaryCaptureImageStorage, ImageKind.IMAGE),
    ],
)
def test_what_is_read_has_its_way(sop_class: str, kind: ImageKind) -> None:
    assert kind_of(sop_class) is kind
    assert is_read(sop_class)


def test_every_storage_class_whose_name_says_image_is_known_as_one() -> None:
    classes = [uid.UID(str(context.abstract_syntax)) for context in AllStoragePresentationContexts]
    named = {known for known in classes if "Image Storage" in known.name}
    assert named
    assert {known for known in named if kind_of(known) is ImageKind.NOT_AN_IMAGE} == set()


def test_every_class_of_the_table_is_one_of_the_standard() -> None:
    for kind in (ImageKind.VOLUME, ImageKind.IMAGE, ImageKind.UNREAD):
        for known in classes_of(kind):
            assert uid.UID(known).name != known


def test_captures_are_told_from_what_a_modality_acquired() -> None:
    assert is_secondary_capture(uid.MultiFrameTrueColorSecondaryCaptureImageStorage)
    assert not is_secondary_capture("1.2.840.10008.5.1.4.1.1.77.1.1")
