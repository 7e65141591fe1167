from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dicom_gateway.objects.anatomy import anatomic_region, laterality


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


@pytest.mark.parametrize(
    ("modality", "body_part", "meaning"),
    [
        ("MR", "HEAD", "Brain"),
        ("CT", "HEAD", "Head"),
        ("CT", "CHEST", "Chest"),
        ("CT", "HEAD NECK", "Head and Neck"),
        ("MR", "BREAST", "Breast"),
        ("DX", "HAND", "Hand"),
        ("CR", "LSPINE", "Lumbar spine"),
        ("MR", "TAIL", None),
        ("MR", "", None),
    ],
)
def test_a_body_part_becomes_a_code_where_it_is_known(modality: str, body_part: str, meaning: str | None) -> None:
    source = Dataset()
    source.Modality, source.BodyPartExamined = modality, body_part
    region = anatomic_region(source)
    assert (region.meaning if region else None) == meaning


def test_a_region_that_the_source_codes_itself_wins() -> None:
    source = Dataset()
    source.Modality, source.BodyPartExamined = "CT", "CHEST"
    source.AnatomicRegionSequence = [coded("39607008", "SCT", "Lung")]
    region = anatomic_region(source)
    assert region is not None
    assert region.value == "39607008"


def test_the_region_of_an_enhanced_instance_is_found_in_its_frame_anatomy() -> None:
    anatomy, shared, source = Dataset(), Dataset(), Dataset()
    anatomy.AnatomicRegionSequence = [coded("12738006", "SCT", "Brain")]
    shared.FrameAnatomySequence = [anatomy]
    source.SharedFunctionalGroupsSequence = [shared]
    region = anatomic_region(source)
    assert region is not None
    assert region.value == "12738006"


def test_a_region_in_an_older_scheme_is_left_to_the_body_part() -> None:
    source = Dataset()
    source.Modality, source.BodyPartExamined = "CT", "CHEST"
    source.AnatomicRegionSequence = [coded("T-28000", "SRT", "Lung")]
    region = anatomic_region(source)
    assert region is not None
    assert region.value == "816094009"


@pytest.mark.parametrize(
    ("stated", "meaning"),
    [
        ({"ImageLaterality": "L"}, "Left"),
        ({"Laterality": "R"}, "Right"),
        ({"ImageLaterality": "B"}, "Bilateral"),
        ({"ImageLaterality": "R", "Laterality": "L"}, "Right"),
        ({"ImageLaterality": "U", "Laterality": "L"}, "Left"),
        ({"ImageLaterality": "U"}, None),
        ({"Laterality": ""}, None),
        ({}, None),
    ],
)
def test_the_side_is_the_images_before_its_series(stated: dict[str, str], meaning: str | None) -> None:
    source = Dataset()
    for keyword, value in stated.items():
        setattr(source, keyword, value)
    side = laterality(source)
    assert (side.meaning if side else None) == meaning


def test_the_side_of_an_enhanced_instance_is_found_in_its_frame_anatomy() -> None:
    anatomy, shared, source = Dataset(), Dataset(), Dataset()
    anatomy.FrameLaterality = "L"
    shared.FrameAnatomySequence = [anatomy]
    source.SharedFunctionalGroupsSequence = [shared]
    side = laterality(source)
    assert side is not None
    assert side.meaning == "Left"
