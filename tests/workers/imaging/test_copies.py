from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, put_all, series
from workers.errors import DuplicatePosition
from workers.imaging.copies import without_copies
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOutReason, SeriesRef, choose_series
from workers.imaging.volumes import build_volume

PLAN = SeriesPlan()


def chosen(objects: ObjectStore, datasets: list[Dataset]) -> SeriesRef:
    series_ref, _ = choose_series(read_headers(put_all(objects, datasets), objects))
    return series_ref


def again(index: int) -> Dataset:
    copy = series(PLAN)[index]
    copy.SOPInstanceUID += ".2"
    return copy


def test_an_image_that_was_exported_twice_is_taken_once(objects: ObjectStore) -> None:
    whole, aside = without_copies(chosen(objects, [*series(PLAN), again(2), again(4)]), objects)
    assert [(item.reason, item.instances) for item in aside] == [(LeftOutReason.IDENTICAL_COPY, 2)]
    volume = build_volume(whole, objects)
    assert np.array_equal(volume.voxels, PLAN.values())
    assert [frame.sop_instance_uid for frame in volume.frames] == [d.SOPInstanceUID for d in series(PLAN)]


def test_two_images_at_one_place_that_differ_are_refused_by_name(objects: ObjectStore) -> None:
    twin = again(2)
    twin.PixelData = (PLAN.values()[2] + 1).astype("<u2").tobytes()
    with pytest.raises(DuplicatePosition) as refusal:
        without_copies(chosen(objects, [*series(PLAN), twin]), objects)
    assert all(uid[-12:] in str(refusal.value) for uid in (series(PLAN)[2].SOPInstanceUID, twin.SOPInstanceUID))


def test_equal_pixels_of_another_slope_are_not_the_same_image(objects: ObjectStore) -> None:
    twin = again(2)
    twin.RescaleSlope = "2"
    with pytest.raises(DuplicatePosition):
        without_copies(chosen(objects, [*series(PLAN), twin]), objects)


def test_a_series_without_copies_is_left_as_it_is(objects: ObjectStore) -> None:
    whole = chosen(objects, series(PLAN))
    assert without_copies(whole, objects) == (whole, ())
