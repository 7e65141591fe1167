from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.volumes import Volume
from tests.support.dicom import put_all
from tests.support.nuclear import NM_PLAN, nuclear
from workers.errors import NoUsableSeries
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.series import SelectionRules, choose_series

_RULES = SelectionRules(modalities=frozenset({"NM"}))


def _built(objects: ObjectStore, dataset: Dataset) -> Volume:
    _, selection = choose_series(read_headers(put_all(objects, [dataset]), objects), rules=_RULES)
    return build_best(selection, objects)[0]


def test_a_reconstruction_is_a_volume_by_its_first_slice_and_its_step(objects: ObjectStore) -> None:
    volume = _built(objects, nuclear())
    assert np.array_equal(volume.voxels, NM_PLAN.values())
    assert volume.geometry.spacing_mm == (4.0, 2.0, 2.5)
    assert volume.geometry.origin_mm == pytest.approx(NM_PLAN.origin_mm)
    assert [frame.frame_number for frame in volume.frames] == [1, 2, 3, 4, 5, 6]


def test_a_negative_step_stacks_the_slices_against_the_normal(objects: ObjectStore) -> None:
    volume = _built(objects, nuclear(step_mm=-4.0))
    assert np.array_equal(volume.voxels, NM_PLAN.values()[::-1])
    x, y, z = NM_PLAN.origin_mm
    assert volume.geometry.origin_mm == pytest.approx((x, y, z - 5 * 4.0))


def test_the_slice_vector_says_where_each_frame_belongs(objects: ObjectStore) -> None:
    image = nuclear()
    image.SliceVector = [6, 5, 4, 3, 2, 1]
    assert np.array_equal(_built(objects, image).voxels, NM_PLAN.values()[::-1])


def test_the_thickness_stands_in_for_a_step_that_is_not_told(objects: ObjectStore) -> None:
    image = nuclear()
    del image.SpacingBetweenSlices
    assert _built(objects, image).geometry.spacing_mm[0] == 4.0


@pytest.mark.parametrize("kind", ["STATIC", "WHOLE BODY", "DYNAMIC", "GATED", "TOMO", "GATED TOMO", "RECON GATED TOMO"])
def test_planar_and_gated_frames_are_left_out_by_name(objects: ObjectStore, kind: str) -> None:
    with pytest.raises(NoUsableSeries, match="planar, 1 image"):
        _built(objects, nuclear(kind=kind))


def test_a_reconstruction_that_does_not_say_where_it_lies_is_left_out(objects: ObjectStore) -> None:
    image = nuclear()
    del image.DetectorInformationSequence[0].ImagePositionPatient
    with pytest.raises(NoUsableSeries, match="no_geometry"):
        _built(objects, image)
