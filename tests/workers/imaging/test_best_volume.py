from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.routes.file import load_routes
from tests.support.dicom import SeriesPlan, put_all, series
from workers.errors import DuplicatePosition, IncompleteVolume
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOutReason, SelectionRules, SeriesSelection, select_series

FLAIR = SeriesPlan(key="flair", description="AX T2 FLAIR", shape=(8, 16, 20))
T1 = SeriesPlan(key="t1", description="AX T1")


def selected(objects: ObjectStore, datasets: list[Dataset]) -> SeriesSelection:
    rules = SelectionRules(preferences=load_routes().named("head-mr").prefer)
    return select_series(read_headers(put_all(objects, datasets), objects), rules=rules)


def without_one_slice(plan: SeriesPlan) -> list[Dataset]:
    return [dataset for z, dataset in enumerate(series(plan)) if z != 3]


def test_the_next_best_is_taken_where_the_best_lacks_a_slice(objects: ObjectStore) -> None:
    volume, taken, left_out = build_best(selected(objects, [*without_one_slice(FLAIR), *series(T1)]), objects)
    assert taken.series_instance_uid == volume.series_instance_uid == T1.uid("series")
    assert [(item.series_instance_uid, item.reason, item.code) for item in left_out] == [
        (FLAIR.uid("series"), LeftOutReason.NO_VOLUME, "incomplete_volume")
    ]


def test_the_best_is_taken_where_it_is_whole(objects: ObjectStore) -> None:
    volume, _, left_out = build_best(selected(objects, [*series(FLAIR), *without_one_slice(T1)]), objects)
    assert volume.series_instance_uid == FLAIR.uid("series")
    assert [item.reason for item in left_out] == [LeftOutReason.LOWER_RANK]


def test_where_none_can_be_built_the_best_ones_reason_is_given(objects: ObjectStore) -> None:
    twin = series(T1)[1]
    twin.SOPInstanceUID += ".2"
    twin.RescaleSlope = "3"
    with pytest.raises(IncompleteVolume):
        build_best(selected(objects, [*without_one_slice(FLAIR), *series(T1), twin]), objects)
    with pytest.raises(DuplicatePosition):
        build_best(selected(objects, [*series(T1), twin]), objects)
