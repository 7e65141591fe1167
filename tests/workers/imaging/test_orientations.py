from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.objects import ObjectStore
from tests.support import odd_series as odd
from tests.support.dicom import put_all
from workers.imaging.instances import read_headers
from workers.imaging.orientations import is_survey, split_orientations
from workers.imaging.planes import Plane
from workers.imaging.slices import Slice, number_places, number_sides


@pytest.fixture
def stack(objects: ObjectStore) -> list[Slice]:
    scan = read_headers(put_all(objects, odd.leaning(degrees=6, decimals=3)), objects)
    return [Slice(header, plane) for header in scan.headers for plane in header.planes]


@pytest.mark.parametrize("by", [1e-6, 4e-4])
def test_rounding_does_not_split_an_orientation(stack: list[Slice], by: float) -> None:
    moved = [
        replace(item, plane=replace(item.plane, column_direction=(0.0, 0.995 + (by if z % 2 else -by), 0.105)))
        for z, item in enumerate(stack)
    ]
    assert [len(group) for group in split_orientations(moved)] == [len(stack)]


def test_three_perpendicular_directions_of_few_planes_are_a_survey(objects: ObjectStore) -> None:
    def groups(planes: int) -> list[list[Slice]]:
        scan = read_headers(put_all(objects, odd.survey(planes=planes)), objects)
        return split_orientations(Slice(header, plane) for header in scan.headers for plane in header.planes)

    assert is_survey(groups(3))
    assert not is_survey(groups(3)[:2])
    assert not is_survey(groups(20))


@given(jitter=st.lists(st.floats(-0.02, 0.02), min_size=12, max_size=12))
def test_places_do_not_depend_on_the_rounding_of_positions(jitter: list[float]) -> None:
    def plane(z: float, x: float = 0.0) -> Plane:
        return Plane(None, (x, 0.0, z), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0))

    once = [plane(number * 0.625) for number in range(12)]
    again = [plane(number * 0.625 + by) for number, by in enumerate(jitter)]
    items = [Slice(None, item) for item in (*once, *again)]  # type: ignore[arg-type]  # places need no header
    assert number_places(items) == [*range(12), *range(12)]
    assert set(number_sides(items)) == {0}
    beside = [Slice(None, plane(number * 0.625, 180.0)) for number in range(12)]  # type: ignore[arg-type]  # headers are not looked at
    assert len(set(number_places([*items, *beside]))) == 24
    assert len(set(number_sides([*items, *beside]))) == 2
