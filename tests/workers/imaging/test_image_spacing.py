from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from storage.volumes import Extent
from tests.support.images import region, regions
from workers.imaging.image_spacing import read_pixel_size


def _dataset(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("attributes", "size", "note"),
    [
        ({"PixelSpacing": [0.2, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"}, (0.2, 0.1), ""),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.25, 0.125]}, (0.2, 0.1), ""),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "spacing_at_detector"),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "spacing_at_detector"),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.16, 0.08),
            "spacing_from_magnification",
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 0.5},
            (0.2, 0.1),
            "spacing_at_detector",
        ),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "spacing_unexplained"),
        ({"NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "spacing_on_film"),
        ({"PixelSpacing": [0.2, 0.1], "NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), "spacing_on_film"),
    ],
)
def test_a_projections_pixel_size_says_where_it_holds(
    attributes: dict[str, object], size: tuple[float, float], note: str
) -> None:
    found = read_pixel_size(_dataset(**attributes), modality="DX")
    assert (found.row_mm, found.column_mm) == pytest.approx(size)
    assert (found.extent, found.note) == (Extent.AREA, note)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"PixelSpacing": [0.0, 0.1]},
        {"PixelSpacing": [120.0, 120.0]},
        {"ImagerPixelSpacing": [0.1]},
    ],
)
def test_what_is_no_pixel_size_leaves_it_unknown(attributes: dict[str, object]) -> None:
    found = read_pixel_size(_dataset(**attributes), modality="DX")
    assert (found.row_mm, found.column_mm, found.extent) == (1.0, 1.0, Extent.UNKNOWN)


def test_a_captures_own_spacing_is_one_in_the_patient() -> None:
    found = read_pixel_size(_dataset(PixelSpacing=[0.2, 0.1]), modality="US")
    assert (found.extent, found.note) == (Extent.AREA, "")


def test_a_tissue_region_in_centimetres_gives_the_size_of_an_ultrasound_image() -> None:
    found = read_pixel_size(_dataset(SequenceOfUltrasoundRegions=regions([region()])), modality="US")
    assert (found.row_mm, found.column_mm) == pytest.approx((0.2, 0.1))


def test_a_direction_against_the_axis_has_the_same_size() -> None:
    upwards = region(delta_cm=(0.01, -0.02))
    found = read_pixel_size(_dataset(SequenceOfUltrasoundRegions=regions([upwards])), modality="US")
    assert (found.row_mm, found.column_mm) == pytest.approx((0.2, 0.1))


@pytest.mark.parametrize(
    "unfit",
    [
        region(units=(4, 7)),  # seconds and centimetres a second: a spectrum
        region(units=(3, 0)),
        region(spatial=3),  # a spectrum
        region(spatial=2),  # M-mode
        region(data=0x0A),  # an electrocardiogram
        region(delta_cm=(0.0, 0.02)),
    ],
)
def test_regions_that_are_no_tissue_give_no_size(unfit: Dataset) -> None:
    assert read_pixel_size(_dataset(SequenceOfUltrasoundRegions=regions([unfit])), modality="US").extent is (
        Extent.UNKNOWN
    )
    beside = _dataset(SequenceOfUltrasoundRegions=regions([unfit, region()]))
    assert read_pixel_size(beside, modality="US").extent is Extent.AREA


def test_tissue_regions_of_different_scales_give_no_size() -> None:
    two = regions([region(), region(delta_cm=(0.02, 0.02))])
    found = read_pixel_size(_dataset(SequenceOfUltrasoundRegions=two, PixelSpacing=[0.1, 0.1]), modality="US")
    assert (found.extent, found.note) == (Extent.UNKNOWN, "spacing_differs_between_regions")
    same = regions([region(), region(data=2)])
    assert read_pixel_size(_dataset(SequenceOfUltrasoundRegions=same), modality="US").extent is Extent.AREA
