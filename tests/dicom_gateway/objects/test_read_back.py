from __future__ import annotations

import pydicom
import pytest

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.identity import part10
from dicom_gateway.objects.read_back import read_back
from dicom_gateway.objects.segmentation import build_segmentation
from storage.objects import ObjectStore
from tests.support.sources import LAYOUTS, WRITTEN_AT, store_study


@pytest.fixture
def segmentation(objects: ObjectStore) -> pydicom.Dataset:
    """Return a built segmentation."""
    study = store_study(LAYOUTS[0], objects)
    analysis = study.analysis(study.lesion_labels())
    return build_segmentation(analysis, study.datasets, written_at=WRITTEN_AT, equipment=Equipment())


def test_what_was_encoded_right_reads_as_it_was_meant(segmentation: pydicom.Dataset) -> None:
    found = read_back(part10(segmentation), segmentation)
    assert found.SOPInstanceUID == segmentation.SOPInstanceUID


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (b"AI_LESIONS", b"AI_LESIONX", "ContentLabel"),
        (b"lesion-2", b"lesion-3", "SegmentSequence: TrackingID"),
        (b"PATIENT-17", b"PATIENT-18", "PatientID"),
    ],
)
def test_what_says_something_else_is_found(
    before: bytes, after: bytes, named: str, segmentation: pydicom.Dataset
) -> None:
    content = part10(segmentation)
    assert before in content
    with pytest.raises(ObjectInvalid, match=named):
        read_back(content.replace(before, after), segmentation)


def test_pixels_that_were_lost_are_found(segmentation: pydicom.Dataset) -> None:
    with pytest.raises(ObjectInvalid):
        read_back(part10(segmentation)[:-20], segmentation)


def test_a_missing_element_is_found(segmentation: pydicom.Dataset) -> None:
    content = part10(segmentation)
    segmentation.SeriesDescription = "another"
    segmentation.InstitutionName = "Elsewhere"
    with pytest.raises(ObjectInvalid, match="InstitutionName"):
        read_back(content, segmentation)


def test_what_is_no_dicom_file_is_found(segmentation: pydicom.Dataset) -> None:
    with pytest.raises(ObjectInvalid, match="cannot be read again"):
        read_back(b"nothing", segmentation)
