from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from scipy.spatial.transform import Rotation

from storage.domain import StoredInstance
from storage.objects import ObjectStore
from storage.volumes import Volume
from tests.support.dicom import SeriesPlan, compressed, enhanced, put, put_all, series
from workers.errors import (
    DuplicatePosition,
    IncompleteVolume,
    InvalidGeometry,
    MixedGeometry,
    UnreadableInstance,
    UnsuitableVolume,
    WorkerError,
)
from workers.imaging.instances import read_headers
from workers.imaging.parsing import ReadLimits
from workers.imaging.series import LeftOutReason, SelectionRules, SeriesRef, select_series
from workers.imaging.volumes import build_volume

PLAN = SeriesPlan()
CT = SeriesPlan(modality="CT", image_type=("ORIGINAL", "PRIMARY", "AXIAL"), slope=2.0, intercept=-1024.0)


def _ref(objects: ObjectStore, datasets: Sequence[Dataset]) -> SeriesRef:
    selection = select_series(read_headers(put_all(objects, datasets), objects), rules=SelectionRules(fewest_slices=1))
    assert selection.chosen is not None, selection.left_out
    return selection.chosen


def _built(objects: ObjectStore, datasets: Sequence[Dataset]) -> Volume:
    return build_volume(_ref(objects, datasets), objects)


def _directions(rotation: Rotation) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    row, column, _ = rotation.as_matrix().T.round(8).tolist()
    return (row[0], row[1], row[2]), (column[0], column[1], column[2])


def test_slices_are_ordered_by_position_whatever_their_instance_numbers_say(objects: ObjectStore) -> None:
    datasets = series(PLAN)
    for dataset, number in zip(datasets, [4, 1, 6, 2, 5, 3], strict=True):
        dataset.InstanceNumber = number
    volume = _built(objects, [datasets[index] for index in (3, 0, 5, 1, 4, 2)])
    assert np.array_equal(volume.voxels, PLAN.values())
    assert [frame.sop_instance_uid for frame in volume.frames] == [d.SOPInstanceUID for d in datasets]


@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_each_voxel_keeps_its_place_in_the_patient(
    objects: ObjectStore, angles: tuple[float, float, float], order: list[int]
) -> None:
    rotation = Rotation.from_euler("xyz", angles, degrees=True)
    plan = replace(PLAN, shape=(4, 6, 5), directions=_directions(rotation))
    datasets = series(plan)
    volume = _built(objects, [datasets[index] for index in order])
    geometry = volume.geometry
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in datasets}
    for z, frame in enumerate(volume.frames):
        dataset = by_uid[frame.sop_instance_uid]
        place = np.array(geometry.origin_mm) + z * geometry.spacing_mm[0] * np.array(geometry.slice_direction)
        assert np.allclose(place, [float(v) for v in dataset.ImagePositionPatient], atol=1e-3)
        assert np.array_equal(volume.voxels[z], dataset.pixel_array)


def test_a_series_numbered_downwards_and_feet_first_is_turned_along_its_normal(objects: ObjectStore) -> None:
    plan = replace(PLAN, directions=((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), patient_position="FFS")
    volume = _built(objects, series(plan)[::-1])
    assert volume.geometry.slice_direction == (0.0, 0.0, -1.0)
    assert np.array_equal(volume.voxels, plan.values())
    assert volume.geometry.origin_mm == PLAN.origin_mm


def test_ct_values_are_hounsfield_units(objects: ObjectStore) -> None:
    volume = _built(objects, series(CT))
    assert np.array_equal(volume.voxels, CT.values() * 2.0 - 1024.0)
    assert volume.voxels.dtype == np.float32


def test_each_slice_is_rescaled_by_its_own_slope(objects: ObjectStore) -> None:
    datasets = series(CT)
    datasets[1].RescaleSlope = 4.0
    volume = _built(objects, datasets)
    assert np.array_equal(volume.voxels[1], CT.values()[1] * 4.0 - 1024.0)


def test_spacing_direction_and_description_come_from_the_headers(objects: ObjectStore) -> None:
    datasets = series(PLAN)
    for dataset in datasets:
        dataset.BodyPartExamined = "BRAIN"
    volume = _built(objects, datasets)
    assert volume.geometry.spacing_mm == (5.0, 1.0, 1.5)
    assert (volume.modality, volume.description, volume.body_part) == ("MR", "AX T2 FLAIR", "BRAIN")
    assert volume.frame_of_reference_uid == datasets[0].FrameOfReferenceUID


def test_dark_is_dark_in_an_mr_that_is_stored_inverted(objects: ObjectStore) -> None:
    datasets = series(PLAN)
    for dataset in datasets:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    volume, values = _built(objects, datasets), PLAN.values().astype(float)
    assert np.array_equal(volume.voxels, values.max() + values.min() - values)


def test_hounsfield_units_are_never_inverted(objects: ObjectStore) -> None:
    datasets = series(CT)
    for dataset in datasets:
        dataset.PhotometricInterpretation = "MONOCHROME1"
    assert np.array_equal(_built(objects, datasets).voxels, CT.values() * 2.0 - 1024.0)


@pytest.mark.parametrize("plan", [PLAN, CT], ids=["MR", "CT"])
def test_an_enhanced_instance_gives_the_same_volume_as_single_frames(objects: ObjectStore, plan: SeriesPlan) -> None:
    plan = replace(plan, directions=_directions(Rotation.from_euler("x", 20, degrees=True)))
    single = _built(objects, series(plan))
    multi = _built(objects, [enhanced(plan, order=[5, 3, 1, 0, 2, 4])])
    assert np.array_equal(multi.voxels, single.voxels)
    assert multi.geometry.origin_mm == pytest.approx(single.geometry.origin_mm)
    assert multi.geometry.spacing_mm == pytest.approx(single.geometry.spacing_mm)
    assert [frame.frame_number for frame in multi.frames] == [4, 3, 5, 2, 6, 1]


def test_two_enhanced_instances_can_make_one_volume(objects: ObjectStore) -> None:
    first, second = enhanced(PLAN, order=[0, 2, 4]), enhanced(PLAN, order=[1, 3, 5])
    second.SOPInstanceUID += ".2"
    volume = _built(objects, [first, second])
    assert np.array_equal(volume.voxels, PLAN.values())
    assert len({frame.sop_instance_uid for frame in volume.frames}) == 2


def test_compressed_slices_give_the_same_volume(objects: ObjectStore) -> None:
    plan = replace(PLAN, shape=(3, 48, 40))
    volume = _built(objects, [compressed(dataset, JPEG2000Lossless) for dataset in series(plan)])
    assert np.array_equal(volume.voxels, plan.values())


def _change(datasets: list[Dataset], index: int, **values: object) -> list[Dataset]:
    for keyword, value in values.items():
        setattr(datasets[index], keyword, value)
    return datasets


def _doubled() -> list[Dataset]:
    double = series(PLAN)[1]
    double.SOPInstanceUID += ".2"
    return [*series(PLAN), double]


def _tilted() -> list[Dataset]:
    datasets = series(PLAN)
    for z, dataset in enumerate(datasets):
        dataset.ImagePositionPatient = [-12.0, -8.0 + z, 30.0 + 5.0 * z]
    return datasets


def _other_size() -> list[Dataset]:
    other = series(replace(PLAN, shape=(6, 8, 8)))
    plain = series(PLAN)
    return [*plain[:3], other[3], *plain[4:]]


def _constant() -> list[Dataset]:
    datasets = series(PLAN)
    for dataset in datasets:
        dataset.PixelData = bytes(len(dataset.PixelData))
    return datasets


_REFUSED: dict[str, tuple[Callable[[], list[Dataset]], type[WorkerError]]] = {
    "a slice is missing": (lambda: [d for z, d in enumerate(series(PLAN)) if z != 2], IncompleteVolume),
    "a slice is doubled": (_doubled, DuplicatePosition),
    "a frame is missing": (lambda: [enhanced(PLAN, order=[0, 1, 3, 4, 5])], IncompleteVolume),
    "a frame is doubled": (lambda: [enhanced(PLAN, order=[0, 1, 2, 2, 3, 4, 5])], DuplicatePosition),
    "the gantry is tilted": (_tilted, InvalidGeometry),
    "one slice is sagittal": (
        lambda: _change(series(PLAN), 2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
        IncompleteVolume,
    ),
    "one slice has another spacing": (lambda: _change(series(PLAN), 2, PixelSpacing=[2, 2]), IncompleteVolume),
    "one slice has another size": (_other_size, IncompleteVolume),
    "one slice has another frame of reference": (
        lambda: _change(series(PLAN), 2, FrameOfReferenceUID="1.2.3"),
        MixedGeometry,
    ),
    "one slice is inverted": (
        lambda: _change(series(PLAN), 2, PhotometricInterpretation="MONOCHROME1"),
        MixedGeometry,
    ),
    "every voxel is the same": (_constant, UnsuitableVolume),
    "one slice alone": (lambda: series(PLAN)[:1], UnsuitableVolume),
    "the rescaled values overflow": (lambda: _change(series(PLAN), 2, RescaleSlope="1e38"), UnsuitableVolume),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_what_makes_no_regular_grid_is_refused_with_its_code(objects: ObjectStore, case: str) -> None:
    build, error = _REFUSED[case]
    with pytest.raises(error) as refusal:
        _built(objects, build())
    assert refusal.value.code == error.code
    assert not refusal.value.retryable


def test_colour_is_refused(objects: ObjectStore) -> None:
    ref = _ref(objects, series(PLAN))
    colour = replace(ref, headers=tuple(replace(header, samples_per_pixel=3) for header in ref.headers))
    with pytest.raises(UnsuitableVolume, match="colour"):
        build_volume(colour, objects)


def test_slices_without_a_place_are_never_dropped_silently(objects: ObjectStore) -> None:
    ref = _ref(objects, series(PLAN))
    first, *rest = ref.headers
    with pytest.raises(MixedGeometry, match="where in the patient"):
        build_volume(replace(ref, headers=(replace(first, planes=()), *rest)), objects)


def test_more_voxels_than_allowed_are_refused_before_decoding(objects: ObjectStore) -> None:
    ref = _ref(objects, series(PLAN))
    with pytest.raises(UnsuitableVolume, match="1920 voxels; the limit is 1919"):
        build_volume(ref, objects, limits=ReadLimits(voxels=1919))


def test_one_truncated_slice_refuses_the_volume(objects: ObjectStore) -> None:
    datasets = series(PLAN)
    datasets[3].PixelData = datasets[3].PixelData[:100]
    with pytest.raises(UnreadableInstance, match="truncated"):
        _built(objects, datasets)


def _real(objects: ObjectStore, folder: Path) -> list[StoredInstance]:
    stored = []
    for file in sorted(folder.rglob("*.dcm")):
        content = file.read_bytes()
        stored.append(put(objects, content, like=pydicom.dcmread(file, stop_before_pixels=True)))
    return stored


@pytest.mark.filterwarnings(
    "ignore:Invalid value for VR:UserWarning"
)  # real headers, read by this test's own pydicom call
@pytest.mark.slow
def test_every_real_series_gives_a_volume_or_a_coded_reason(real_data: Path, objects: ObjectStore) -> None:
    for folder in sorted((real_data / "dicom").iterdir()):
        stored = _real(objects, folder)
        selection = select_series(read_headers(stored, objects))
        accounted = {item.series_instance_uid for item in selection.left_out}
        accounted |= {entry.series_instance_uid for entry in selection.ranked}
        assert accounted == {item.series_instance_uid for item in stored}
        for entry in selection.ranked:
            try:
                assert build_volume(entry, objects).voxels.ndim == 3
            except WorkerError as error:
                assert error.code != WorkerError.code  # noqa: PT017 - either outcome is right, an uncoded one is not


@pytest.mark.slow
def test_the_real_chest_ct_is_built_whole(real_data: Path, objects: ObjectStore) -> None:
    stored = _real(objects, real_data / "dicom" / "ct-chest-100-slices")
    series_ref = select_series(read_headers(stored, objects)).chosen
    assert series_ref is not None
    volume = build_volume(series_ref, objects)
    assert volume.voxels.shape == (100, 512, 512)
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.898438, 0.898438))
    assert volume.voxels[volume.voxels > -2000].min() >= -1024 - 1024


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("mr-siemens-mosaic", LeftOutReason.MOSAIC),
        ("one-image-seven-transfer-syntaxes", LeftOutReason.MOSAIC),
    ],
)
@pytest.mark.slow
def test_real_mosaics_are_left_out_with_their_reason(
    real_data: Path, objects: ObjectStore, folder: str, reason: LeftOutReason
) -> None:
    selection = select_series(read_headers(_real(objects, real_data / "dicom" / folder), objects))
    assert selection.chosen is None
    assert {item.reason for item in selection.left_out} == {reason}


@pytest.mark.slow
def test_a_real_time_series_is_split_into_its_time_points(real_data: Path, objects: ObjectStore) -> None:
    scan = read_headers(_real(objects, real_data / "dicom" / "mr-ge-150-slices"), objects)
    ranked = select_series(scan).ranked
    assert [entry.slices for entry in ranked] == [15] * 10
    assert ranked[0].part.endswith("(10 of 10)")
    assert build_volume(ranked[0], objects).voxels.shape[0] == 15


def test_a_real_multi_frame_ct_matches_its_single_frame_original(real_data: Path, objects: ObjectStore) -> None:
    folder = real_data / "dicom" / "segmentations-with-source-ct"
    selection = select_series(read_headers(_real(objects, folder), objects))
    volumes = [build_volume(entry, objects) for entry in selection.ranked if entry.headers[0].columns == 23]
    single, multi = sorted(volumes, key=lambda volume: volume.frames[0].frame_number or 0)
    assert multi.frames[0].frame_number is not None
    assert np.array_equal(single.voxels, multi.voxels)
    assert single.geometry.spacing_mm == pytest.approx(multi.geometry.spacing_mm)
