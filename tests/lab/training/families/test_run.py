"""Training a family from its data to a folder that loads, on made-up patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.cases import ArrayFile
from lab.patients import Role, is_seen_whole, is_tuned_on, read_seen, role
from lab.segmentation.plain_family import PlainFamily
from lab.training.families import marking, material, tuning
from lab.training.families.plain import train_plain
from lab.training.families.run import train_family
from lab.training.families.settings import FamilyPlan, FamilySettings
from lab.training.settings import StageSettings
from lab.training.slices import Mark
from workers.errors import TrainingDataMissing
from workers.segmentation.families import LIMB_MR, PET
from workers.segmentation.family_segmenter import FamilySegmenter
from workers.segmentation.framing import frame

NAMES = tuple(f"P{number}" for number in range(40))
WHOLE = tuple(name for name in NAMES if role(name) is Role.TRAIN and is_seen_whole(name))[:2]
TUNED = tuple(name for name in NAMES if is_tuned_on(name))[:2]
TEST = tuple(name for name in NAMES if role(name) is Role.TEST)[:1]


def write(folder: Path, name: str) -> None:
    z, y, x = np.indices((13, 40, 36))
    body = ((y - 20) / 18) ** 2 + ((x - 18) / 16) ** 2 < 1
    tumor = (y - 16) ** 2 + (x - 22) ** 2 + (z - 6) ** 2 < 9
    image = np.where(tumor, 12.0, np.where(body, 0.6, 0.0)) * np.random.default_rng(len(name)).normal(1, 0.05, z.shape)
    np.savez(folder / f"{name}__PET.npz", image=image.astype(np.float16), mask=tumor, spacing_mm=(4.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    folder = root / "sarcoma-ct-pet-mr"
    folder.mkdir()
    for name in (*WHOLE, *TUNED, *TEST):
        write(folder, name)
    return root


@pytest.fixture(scope="module")
def settings(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FamilySettings:
    place = tmp_path_factory.mktemp("training")
    plan = StageSettings(steps=3, batch=4, learning_rate=1e-3)
    return FamilySettings(PET, data, place / "pet", place / "work", plan=FamilyPlan(plan, plan), dtype="float32")


@pytest.fixture(scope="module")
def trained(settings: FamilySettings) -> FamilySegmenter:
    result = train_family(settings)
    assert result.finished
    assert result.cases == len(TUNED)
    return FamilySegmenter.load(settings.out, named="pet", device=torch.device("cpu"), dtype=torch.float32)


def test_no_test_patient_is_read_for_training_or_tuning(data: Path) -> None:
    read = {source.partition("__")[0] for source in material.load(PET, data).sources if not source.startswith("uptake")}
    read |= {case.patient for case in marking.whole_cases(PET, data)}
    read |= {case.patient for kind in tuning.KINDS[PET] for case in kind.cases(data, "PT")}
    assert read == set(WHOLE) | set(TUNED)


def test_slices_near_a_tumor_are_left_out_of_the_first_round(data: Path) -> None:
    found = material.load(PET, data)
    of_one = [image for image, source in zip(found.images, found.sources, strict=True) if source.startswith(WHOLE[0])]
    case = ArrayFile(data / "sarcoma-ct-pet-mr" / f"{WHOLE[0]}__PET.npz", "PT").read()
    assert len(of_one) == (~np.convolve(case.mask.any(axis=(1, 2)), np.ones(5), "same").astype(bool)).sum()


def test_a_trained_folder_loads_segments_and_says_whom_it_has_seen(
    trained: FamilySegmenter, settings: FamilySettings, data: Path
) -> None:
    case = ArrayFile(data / "sarcoma-ct-pet-mr" / f"{TEST[0]}__PET.npz", "PT").read()
    found = trained.segment(case.volume)
    assert found.mask.shape == case.mask.shape
    assert len(read_seen(settings.out)) == len({*WHOLE, *TUNED})
    card = (settings.out / "README.md").read_text(encoding="utf-8")
    assert "No expert's mask trained anything" in card
    assert "| sarcoma-ct-pet-mr PET | arrays | yes | Soft-tissue-Sarcoma, The Cancer Imaging Archive" in card
    assert f"Of {len(WHOLE) + len(TUNED)} cases, each left out with its patient, 0 are called" in " ".join(card.split())
    assert found.out_of_distribution is not None


def test_the_plain_network_sees_single_slices_and_is_read_where_it_is_installed(
    settings: FamilySettings, data: Path, tmp_path: Path
) -> None:
    place = replace(settings, out=tmp_path / "families-plain" / "pet", work=tmp_path / "work")
    assert train_plain(place).cases == len(TUNED)
    plain = PlainFamily.installed(tmp_path, PET)
    assert plain is not None
    assert plain.networks.family.slices == 1
    case = ArrayFile(data / "sarcoma-ct-pet-mr" / f"{TEST[0]}__PET.npz", "PT").read()
    mask, scores = plain.segment(case.volume)
    assert mask.shape == scores.shape == case.mask.shape
    assert PlainFamily.installed(tmp_path, LIMB_MR) is None


def test_a_run_that_stops_early_writes_no_manifest(settings: FamilySettings, tmp_path: Path) -> None:
    stopped = replace(settings, out=tmp_path / "pet", work=tmp_path / "work", deadline_minutes=0.0)
    assert not train_family(stopped).finished
    assert not (tmp_path / "pet" / "manifest.json").exists()


def test_certain_pixels_are_found_doubtful_ones_unsure_and_the_rest_free(data: Path) -> None:
    case = ArrayFile(data / "sarcoma-ct-pet-mr" / f"{WHOLE[0]}__PET.npz", "PT").read()
    stack = frame(case.volume, PET)
    scores = np.zeros(stack.images.shape, np.float32)
    scores[3:10, 20:27, 24:31] = 0.99
    scores[3:10, 36:39, 10:13] = 0.3

    marks = marking.marks_of(stack, scores)

    assert marks[6, 23, 27] == Mark.FOUND
    assert marks[6, 23, 32] == Mark.UNSURE
    assert marks[6, 37, 11] == Mark.UNSURE
    assert marks[6, 5, 40] == Mark.FREE


def test_a_family_without_its_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataMissing, match="limb-mr"):
        material.load(LIMB_MR, tmp_path)
