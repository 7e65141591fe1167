from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_gateway.objects.equipment import Equipment
from dicom_gateway.objects.segmentation import build_segmentation
from lab import patients
from lab.cases import ArrayFile, read_case
from lab.errors import UnreadableCase
from lab.patients import Role
from lab.segmentation.case_selection import CaseFilter, find_cases, kept_out, sample, select_cases, tuning
from storage.errors import ConfigurationError
from storage.objects import ObjectStore
from tests.conftest import ROOT
from tests.support.required import present
from tests.support.sources import LAYOUTS, Layout, store_study
from workers.errors import TrainingDataMissing, WeightsMismatch

WRITTEN_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def save(path: Path, **arrays: object) -> Path:
    np.savez(path, allow_pickle=True, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a folder of five images: two of one patient, one without a mask, one of another class."""
    rows = ["image,mask,class,patient"]
    for number, (kind, patient) in enumerate([("a", "p1"), ("a", "p1"), ("b", "p2"), ("c", "p3"), ("a", "p4")]):
        mask = np.zeros((20, 30), bool)
        mask[3 : 6 + number, 4:9] = True
        picture(tmp_path / "images" / f"{number}.png", np.full((20, 30), 40 + number, np.uint8))
        picture(tmp_path / "masks" / f"{number}.png", mask)
        rows.append(f"images/{number}.png,{'' if kind == 'c' else f'masks/{number}.png'},{kind},{patient}")
    (tmp_path / "images.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_single_slice_case_and_the_usual_spacing_are_read(tmp_path: Path) -> None:
    case = read_case(save(tmp_path / "one.npz", flair=np.ones((32, 32), np.uint8), mask=np.zeros((32, 32), np.uint8)))
    assert case.volume.voxels.shape == (1, 32, 32)
    assert case.volume.geometry.spacing_mm == (5.0, 1.0, 1.0)
    assert not case.spacing_known


def test_a_recorded_spacing_is_taken_and_files_of_one_patient_belong_together(tmp_path: Path) -> None:
    path = save(
        tmp_path / "P7__flair.npz", image=np.ones((4, 8, 8)), mask=np.zeros((4, 8, 8)), spacing_mm=[3, 0.5, 0.6]
    )
    case = ArrayFile(path, "CT").read()
    assert case.volume.geometry.spacing_mm == (3.0, 0.5, 0.6)
    assert case.volume.modality == "CT"
    assert case.spacing_known
    assert (case.name, case.patient) == ("P7__flair", "P7")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": np.ones((2, 8, 8))}, "lacks"),
        ({"image": np.ones((2, 8, 8)), "mask": np.ones((3, 8, 8))}, "differ in shape"),
        ({"image": np.ones((0, 8, 8)), "mask": np.ones((0, 8, 8))}, "shape"),
        ({"image": np.ones(8), "mask": np.ones(8)}, "shape"),
        ({"image": np.ones((2, 2, 8, 8)), "mask": np.ones((2, 2, 8, 8))}, "shape"),
        ({"image": np.full((2, 8, 8), "x"), "mask": np.ones((2, 8, 8))}, "numbers"),
        ({"image": np.ones((2, 8, 8)), "mask": np.full((2, 8, 8), np.nan)}, "finite"),
        ({"image": np.ones((2, 8, 8)), "mask": np.ones((2, 8, 8)), "spacing_mm": [1, 0, 1]}, "spacing_mm"),
        ({"image": np.ones((2, 8, 8)), "mask": np.ones((2, 8, 8)), "spacing_mm": [1, 1, 1, 1]}, "spacing_mm"),
    ],
)
def test_a_case_that_cannot_be_judged_is_refused_by_name(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    path = save(tmp_path / "odd.npz", **arrays)
    with pytest.raises(UnreadableCase, match=said) as refused:
        read_case(path)
    assert "odd" in str(refused.value)
    assert refused.value.code == "unreadable_case"


def test_a_file_that_is_cut_off_or_pickled_is_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.npz", image=np.ones((2, 8, 8)), mask=np.ones((2, 8, 8))).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    np.savez(tmp_path / "pickled.npz", image=np.array([{}], dtype=object), mask=np.ones(1))
    for name in ("cut", "pickled"):
        with pytest.raises(UnreadableCase, match=name):
            read_case(tmp_path / f"{name}.npz")


def test_one_broken_case_is_named_before_any_work(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", image=np.ones((2, 8, 8)), mask=np.ones((2, 8, 8)))
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(UnreadableCase, match=r"b\.npz"):
        select_cases(tmp_path, CaseFilter(), weights=tmp_path)


def test_a_folder_without_anyone_who_may_fix_thresholds_says_so(tmp_path: Path) -> None:
    other = next(name for name in (f"P{number}" for number in range(40)) if not patients.is_tuned_on(name))
    save(tmp_path / f"{other}.npz", image=np.ones((2, 8, 8)), mask=np.ones((2, 8, 8)))
    with pytest.raises(TrainingDataMissing, match="leave out --tuning"):
        select_cases(tmp_path, CaseFilter(tuning_only=True), weights=tmp_path)


def test_patients_unknown_to_weights_with_folds_fix_thresholds_by_their_role(tmp_path: Path) -> None:
    names = [f"P{number}" for number in range(40)]
    known, unknown = [name for name in names if patients.is_tuned_on(name)][:2]
    for name in (known, unknown):
        save(tmp_path / f"{name}.npz", image=np.ones((2, 8, 8)), mask=np.ones((2, 8, 8)))
    patients.write_seen([known], tmp_path, left_out={"network-0.safetensors": [known]})
    chosen = select_cases(tmp_path, CaseFilter(tuning_only=True), weights=tmp_path).evaluated
    assert {case.patient for case in chosen} == {known, unknown}


def test_an_empty_folder_holds_no_case(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataMissing, match="no case"):
        find_cases(tmp_path)
    (tmp_path / "notes.txt").write_text("not a DICOM file")
    with pytest.raises(TrainingDataMissing, match="no case"):
        find_cases(tmp_path)


def test_patients_whom_the_weights_have_not_seen_are_taken_where_there_are_any(tmp_path: Path) -> None:
    for name in ("TCGA_DU_7013", "TCGA_DU_6400__flair", "TCGA_CS_4941", "somebody else"):
        save(tmp_path / f"{name}.npz", image=np.ones((2, 8, 8)), mask=np.ones((2, 8, 8)))
    found = find_cases(tmp_path)
    (tmp_path / "weights").mkdir()
    patients.write_seen(["TCGA_DU_6400", "TCGA_CS_4941"], tmp_path / "weights")
    seen = patients.read_seen(tmp_path / "weights")
    assert [source.name for source in kept_out(found, seen)] == ["TCGA_DU_7013", "somebody else"]
    assert [source.name for source in tuning(found, seen)] == ["TCGA_DU_6400__flair"]
    assert kept_out(found[:1], seen) == found[:1]
    assert kept_out(found, frozenset()) == found


def test_the_record_of_the_shipped_weights_names_nobody_and_agrees_with_their_card() -> None:
    folder = ROOT / "models" / "segmentation-lgg-small"
    assert "TCGA" not in (folder / patients.SEEN_FILE).read_text()
    seen = patients.read_seen(folder)
    assert len(seen) == 48
    card = (folder / "README.md").read_text()
    kept = set(re.findall(r"TCGA_(?:CS|DU)_\w{4}", card[card.index("- test,") : card.index("- tune,")]))
    assert len(kept) == 13
    assert not any(patients.is_seen(name, seen) for name in kept)
    assert all(patients.role(name) is Role.TEST for name in kept)


def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / patients.SEEN_FILE).write_text("[]")
    with pytest.raises(WeightsMismatch, match=r"patients\.json"):
        patients.read_seen(tmp_path)


def test_a_table_lists_images_with_their_masks_and_patients(table: Path) -> None:
    cases = [source.read() for source in find_cases(table, CaseFilter(modality="US"))]
    assert [case.patient for case in cases] == ["p1", "p1", "p2", "p3", "p4"]
    assert [int(case.mask.sum()) for case in cases] == [15, 20, 25, 0, 35]
    assert cases[2].volume.voxels.shape == (1, 20, 30)
    assert float(cases[2].volume.voxels.max()) == 42.0
    assert cases[0].volume.modality == "US"


def test_rows_are_chosen_by_the_values_of_their_columns(table: Path) -> None:
    def names(*where: tuple[str, str]) -> list[str]:
        return [source.name for source in find_cases(table, CaseFilter(where=where))]

    assert names(("class", "b")) == ["2"]
    assert names(("class", "b"), ("class", "c")) == ["2", "3"]
    assert names(("class", "a"), ("patient", "p1")) == ["0", "1"]
    with pytest.raises(UnreadableCase, match="no column plane"):
        names(("plane", "x"))
    with pytest.raises(TrainingDataMissing):
        names(("class", "unheard of"))


def test_only_a_table_has_columns(tmp_path: Path) -> None:
    save(tmp_path / "a.npz", image=np.ones((2, 8, 8)), mask=np.ones((2, 8, 8)))
    with pytest.raises(ConfigurationError, match=r"images\.csv"):
        find_cases(tmp_path, CaseFilter(where=(("class", "a"),)))


@pytest.mark.parametrize("named", ["../outside.png", "/etc/hostname", "images/missing.png", ""])
def test_a_table_names_only_files_below_its_folder(table: Path, named: str) -> None:
    (table.parent / "outside.png").write_bytes(b"")
    (table / "images.csv").write_text(f"image,mask\n{named},\n")
    with pytest.raises(UnreadableCase, match="not a file below it"):
        find_cases(table)


def test_a_picture_that_is_broken_or_does_not_fit_its_mask_is_refused_by_name(table: Path) -> None:
    picture(table / "masks" / "0.png", np.zeros((5, 5), bool))
    (table / "images" / "1.png").write_bytes(b"not a picture")
    first, second = find_cases(table)[:2]
    with pytest.raises(UnreadableCase, match=r"0\.png.*differ"):
        first.read()
    with pytest.raises(UnreadableCase, match=r"1\.png"):
        second.read()


def test_a_sample_is_the_same_every_time_whatever_the_order(table: Path) -> None:
    found = find_cases(table)
    chosen = {source.name for source in sample(found, 3)}
    assert len(chosen) == 3
    assert {source.name for source in sample(found[::-1], 3)} == chosen
    assert len(sample(found, 99)) == 5


def write_dicom(folder: Path, layout: Layout, objects: ObjectStore) -> np.ndarray:
    """Write a series and the SEG that oncue's gateway makes of its lesions; return their union along the normal."""
    study = store_study(layout, objects)
    labels = study.lesion_labels()
    folder.mkdir(parents=True)
    for number, dataset in enumerate(study.datasets):
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    segmentation = build_segmentation(
        study.analysis(labels), study.datasets, written_at=WRITTEN_AT, equipment=Equipment()
    )
    segmentation.save_as(folder / "truth.dcm", enforce_file_format=True)
    return labels > 0


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.slow
def test_a_dicom_series_is_judged_by_the_segmentation_that_refers_to_it(
    layout: Layout, objects: ObjectStore, tmp_path: Path
) -> None:
    truth = write_dicom(tmp_path / "cases" / "first", layout, objects)
    (found,) = find_cases(tmp_path / "cases")
    case = found.read()
    assert (case.name, case.patient) == ("first", "patient-1")
    assert case.volume.voxels.shape == truth.shape
    assert case.volume.geometry.spacing_mm == pytest.approx(layout.spacing)
    np.testing.assert_array_equal(case.mask, truth)


def test_a_series_without_a_segmentation_is_no_case(objects: ObjectStore, tmp_path: Path) -> None:
    write_dicom(tmp_path / "cases" / "with", LAYOUTS[0], objects)
    write_dicom(tmp_path / "cases" / "without", LAYOUTS[4], objects)
    (tmp_path / "cases" / "without" / "truth.dcm").unlink()
    assert [source.name for source in find_cases(tmp_path / "cases")] == ["with"]


def test_a_segmentation_on_another_grid_or_a_missing_slice_is_refused_by_name(
    objects: ObjectStore, tmp_path: Path
) -> None:
    import pydicom

    write_dicom(tmp_path / "cases" / "a", LAYOUTS[0], objects)
    write_dicom(tmp_path / "cases" / "b", LAYOUTS[4], objects)
    (tmp_path / "cases" / "b" / "2.dcm").unlink()
    shifted = pydicom.dcmread(tmp_path / "cases" / "a" / "truth.dcm")
    for group in shifted.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        position.ImagePositionPatient = [value + 0.4 for value in position.ImagePositionPatient]
    shifted.save_as(tmp_path / "cases" / "a" / "truth.dcm")
    first, second = find_cases(tmp_path / "cases")
    with pytest.raises(UnreadableCase, match=r"truth\.dcm lies on another grid"):
        first.read()
    with pytest.raises(UnreadableCase, match="b: slices"):
        second.read()


def test_the_real_segmentations_are_read_or_refused_with_a_code(real_data: Path) -> None:
    folder = present(real_data / "dicom" / "segmentations-with-source-ct")
    cases = [source.read() for source in find_cases(folder)]
    assert cases
    assert all(case.mask.any() and case.mask.shape == case.volume.voxels.shape for case in cases)
