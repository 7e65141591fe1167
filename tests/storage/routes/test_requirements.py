from __future__ import annotations

import numpy as np
import pytest

from storage.routes.requirements import Requirements
from storage.volumes import Extent, Geometry, Volume


def volume(*, shape: tuple[int, int, int] = (20, 100, 80), extent: Extent = Extent.VOLUME) -> Volume:
    geometry = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (5.0, 2.0, 1.0))
    return Volume(np.zeros(shape, dtype=np.float32), geometry, "MR", "1.2", "1.3", None, (), extent=extent)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, True),
        ({"minimum_coverage_mm": 100.0}, True),
        ({"minimum_coverage_mm": 101.0}, False),
        ({"minimum_field_mm": 80.0}, True),
        ({"minimum_field_mm": 81.0}, False),
        ({"maximum_spacing_mm": 5.0}, True),
        ({"maximum_spacing_mm": 4.9}, False),
        ({"minimum_pixels": 80}, True),
        ({"minimum_pixels": 81}, False),
    ],
)
def test_each_limit_is_kept_up_to_its_value(asked: dict[str, float], kept: bool) -> None:
    unmet = Requirements.model_validate(asked).unmet(volume())
    assert [one.condition for one in unmet] == ([] if kept else list(asked))


def test_millimetres_cannot_be_asked_of_an_image_that_has_none() -> None:
    flat = volume(shape=(1, 100, 80), extent=Extent.UNKNOWN)
    asked = Requirements(minimum_field_mm=10, maximum_spacing_mm=9, minimum_coverage_mm=1, minimum_pixels=80)
    unmet = asked.unmet(flat)
    assert [(one.condition, one.found) for one in unmet] == [
        ("minimum_coverage_mm", "unknown"),
        ("minimum_field_mm", "unknown"),
        ("maximum_spacing_mm", "unknown"),
    ]


def test_an_image_of_known_pixel_size_has_no_slices_to_be_far_apart() -> None:
    flat = volume(shape=(1, 100, 80), extent=Extent.AREA)
    assert Requirements(maximum_spacing_mm=2.0, minimum_field_mm=80).unmet(flat) == ()
