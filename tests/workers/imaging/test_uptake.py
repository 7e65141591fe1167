from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from storage.objects import ObjectStore
from storage.volumes import Volume
from tests.support.dicom import SeriesPlan, put_all, series
from tests.support.nuclear import PET_PLAN, SUV_FACTOR, converted_pet, enhanced_pet, pet
from tests.support.required import present
from workers.errors import SuvUnknown
from workers.imaging.best_volume import build_best
from workers.imaging.instances import read_headers
from workers.imaging.series import LeftOutReason, SelectionRules, choose_series


def _built(objects: ObjectStore, *datasets: Dataset, modalities: frozenset[str] = frozenset({"PT"})) -> Volume:
    _, selection = choose_series(
        read_headers(put_all(objects, datasets), objects), rules=SelectionRules(modalities=modalities)
    )
    return build_best(selection, objects)[0]


def _expected() -> np.ndarray:
    return PET_PLAN.values() * 2.0 * SUV_FACTOR


def test_a_pet_series_becomes_a_volume_of_uptake_values(objects: ObjectStore) -> None:
    volume = _built(objects, *pet())
    assert volume.modality == "PT"
    assert volume.voxels == pytest.approx(_expected(), rel=1e-5)


def test_an_enhanced_pet_has_the_same_values_as_its_single_frames(objects: ObjectStore) -> None:
    assert _built(objects, enhanced_pet()).voxels == pytest.approx(_expected(), rel=1e-5)


def test_an_enhanced_pet_whose_writer_kept_to_becquerels_has_them_too(objects: ObjectStore) -> None:
    image = enhanced_pet()
    image.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = "370000000"
    assert _built(objects, image).voxels == pytest.approx(_expected(), rel=1e-5)


def test_the_real_world_values_of_an_enhanced_pet_replace_its_rescale(objects: ObjectStore) -> None:
    volume = _built(objects, enhanced_pet(real_slope=0.5))
    assert volume.voxels == pytest.approx(PET_PLAN.values() * 0.5 * SUV_FACTOR, rel=1e-5)


def test_a_converted_pet_is_read_by_its_classic_attributes(objects: ObjectStore) -> None:
    assert _built(objects, converted_pet()).voxels == pytest.approx(_expected(), rel=1e-5)


def test_what_an_enhanced_pet_lacks_is_named(objects: ObjectStore) -> None:
    without = enhanced_pet()
    del without.DecayCorrectionDateTime
    with pytest.raises(SuvUnknown, match="DecayCorrectionDateTime"):
        _built(objects, without)
    uncorrected = enhanced_pet()
    uncorrected.AttenuationCorrected = "NO"
    with pytest.raises(SuvUnknown, match="ATTN"):
        _built(objects, uncorrected)


def test_a_pet_whose_patient_has_no_weight_is_refused_by_name(objects: ObjectStore) -> None:
    images = pet()
    for image in images:
        del image.PatientWeight
    with pytest.raises(SuvUnknown, match=r"PatientWeight \(0010,1030\) is missing"):
        _built(objects, *images)


def test_philips_private_factors_are_refused_by_name(objects: ObjectStore) -> None:
    images = pet()
    for image in images:
        image.Units = "CNTS"
        image.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.00042")
    with pytest.raises(SuvUnknown, match="SUV Scale Factor"):
        _built(objects, *images)


def test_a_series_without_uptake_values_gives_way_to_the_next(objects: ObjectStore) -> None:
    uncorrected = pet(SeriesPlan(key="nac", modality="PT", shape=(9, 16, 20)))
    for image in uncorrected:
        image.CorrectedImage = ["DECY"]
    scan = read_headers(put_all(objects, [*uncorrected, *pet()]), objects)
    _, selection = choose_series(scan, rules=SelectionRules(modalities=frozenset({"PT"})))
    volume, _, left_out = build_best(selection, objects)
    assert volume.series_instance_uid == PET_PLAN.uid("series")
    assert [(item.reason, item.code) for item in left_out] == [(LeftOutReason.NO_VOLUME, "suv_unknown")]


def test_other_modalities_keep_their_units(objects: ObjectStore) -> None:
    plan = SeriesPlan(key="ct", modality="CT", intercept=-1024.0)
    volume = _built(objects, *series(plan), modalities=frozenset({"CT"}))
    assert np.array_equal(volume.voxels, plan.values() - 1024.0)


def test_a_number_that_is_none_is_a_fault_of_the_file(objects: ObjectStore) -> None:
    images = pet()
    for image in images:
        image.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = "0"
    with pytest.raises(SuvUnknown, match="RadionuclideTotalDose"):
        _built(objects, *images)


@pytest.mark.slow
@pytest.mark.parametrize("patient", ["STS_041", "STS_051"])
def test_a_real_pet_is_a_volume_whose_highest_uptake_is_a_tumours(
    real_data: Path, objects: ObjectStore, patient: str
) -> None:
    folder = present(real_data / "sarcoma-ct-pet-mr")
    files = sorted((folder / "dicom" / patient / "PET" / "image").glob("*.dcm"))
    volume = _built(objects, *(pydicom.dcmread(file) for file in files))
    assert len(volume.frames) == len(files)
    assert 2.0 < float(volume.voxels.max()) < 100.0
    with np.load(folder / f"{patient}__PET.npz") as known:
        highest = float(known["image"][known["mask"] > 0].max())
    assert np.abs(volume.voxels - highest).min() < 1e-3 * highest
