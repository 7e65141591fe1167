"""Folds of a family's patients: who trains which network, and who is scored by which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lab.cases import ArrayFile
from lab.patients import Role, is_seen, read_left_out, role
from lab.segmentation.case_selection import CaseFilter, select_cases
from lab.segmentation.family_evaluation import evaluate_family
from lab.segmentation.unseen_networks import UnseenNetworks
from lab.training.families import folds, marking, material, out_of_fold
from lab.training.families.run import train_family
from lab.training.families.settings import FamilyPlan, FamilySettings
from lab.training.settings import StageSettings
from workers.segmentation.families import PET
from workers.segmentation.family_segmenter import FamilySegmenter
from workers.segmentation.random_walk import Walk

NAMES = tuple(f"P{number}" for number in range(40))
KEPT_IN = tuple(name for name in NAMES if role(name) is not Role.TEST)[:4]
TEST = next(name for name in NAMES if role(name) is Role.TEST)
FOLDER = "sarcoma-ct-pet-mr"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / FOLDER).mkdir()
    z, y, x = np.indices((13, 40, 36))
    body = ((y - 20) / 18) ** 2 + ((x - 18) / 16) ** 2 < 1
    for number, name in enumerate((*KEPT_IN, TEST)):
        tumor = (y - 16) ** 2 + (x - 22) ** 2 + (z - 6) ** 2 < 9 + number
        image = np.where(tumor, 12.0, np.where(body, 0.6, 0.0)) * np.random.default_rng(number).normal(1, 0.05, z.shape)
        np.savez(root / FOLDER / f"{name}__PET.npz", image=image, mask=tumor, spacing_mm=(4.0, 4.0, 4.0))
    return root


@pytest.fixture(scope="module")
def settings(data: Path, tmp_path_factory: pytest.TempPathFactory) -> FamilySettings:
    place, plan = tmp_path_factory.mktemp("training"), StageSettings(steps=2, batch=4, learning_rate=1e-3)
    return FamilySettings(
        PET,
        data,
        place / "pet",
        place / "work",
        plan=FamilyPlan(plan, plan, folds=2, walk=Walk(0.15, 0.02)),
        dtype="float32",
    )


@pytest.fixture(scope="module")
def trained(settings: FamilySettings) -> UnseenNetworks:
    assert train_family(settings).finished
    segmenter = FamilySegmenter.load(settings.out, device=torch.device("cpu"), dtype=torch.float32)
    return UnseenNetworks.read(segmenter, settings.out)


def test_everyone_but_test_patients_is_left_out_once_and_folds_are_as_large_as_each_other() -> None:
    dealt = folds.deal(NAMES, 3)
    left_out = [name for fold in dealt for name in fold.left_out or ()]
    assert sorted(left_out) == sorted(name for name in NAMES if role(name) is not Role.TEST)
    sizes = [len(fold.left_out or ()) for fold in dealt]
    assert max(sizes) - min(sizes) <= 1
    assert folds.deal(reversed(NAMES), 3) == dealt


def test_a_network_trains_on_everyone_but_its_fold_and_test_patients(data: Path) -> None:
    for fold in folds.deal(KEPT_IN, 2):
        shown = {source.partition("__")[0] for source in material.load(PET, data, fold).sources}
        whole = {case.patient for case in marking.whole_cases(PET, data, fold)}
        others = set(KEPT_IN) - (fold.left_out or set())
        assert shown - {name for name in shown if name.startswith("uptake")} == whole == others


def test_every_patient_is_scored_by_the_network_that_never_saw_them(
    settings: FamilySettings, trained: UnseenNetworks
) -> None:
    recorded = read_left_out(settings.out)
    assert sorted(recorded) == ["network-0.safetensors", "network-1.safetensors"]
    for number, fold in enumerate(folds.deal(KEPT_IN, 2)):
        left_out = fold.left_out or frozenset()
        assert {case.patient for case in out_of_fold.cases(settings, fold)} == left_out
        for patient in left_out:
            assert is_seen(patient, recorded[f"network-{number}.safetensors"])
            assert trained.of(patient).networks.networks == (trained.segmenter.networks.networks[number],)
    assert trained.of(TEST).networks.networks == trained.segmenter.networks.networks
    assert len(trained.segmenter.networks.networks) == 2


def test_the_tuning_part_is_everyone_who_was_left_out_and_the_test_part_everybody_else(
    settings: FamilySettings, trained: UnseenNetworks, data: Path
) -> None:
    wanted = CaseFilter("PT", tuning_only=True)
    read = select_cases(data / FOLDER, wanted, weights=settings.out).evaluated
    assert {case.patient for case in read} == set(KEPT_IN)
    kept = select_cases(data / FOLDER, CaseFilter("PT"), weights=settings.out).evaluated
    assert [case.patient for case in kept] == [TEST]
    assert len(evaluate_family(read, trained).per_case) == len(KEPT_IN)


def test_a_folded_family_loads_with_a_level_of_each_patient_s_own(trained: UnseenNetworks, data: Path) -> None:
    own = trained.segmenter.calibration.own
    assert own is not None
    assert own.walk == Walk(0.15, 0.02)
    case = ArrayFile(data / FOLDER / f"{TEST}__PET.npz", "PT").read()
    found = trained.segmenter.segment(case.volume)
    assert found.mask.shape == case.mask.shape
    assert '"own_level"' in found.algorithm.parameters


def test_the_card_tells_what_the_rule_of_all_others_is_worth(settings: FamilySettings, trained: UnseenNetworks) -> None:
    card = " ".join((settings.out / "README.md").read_text(encoding="utf-8").split())
    assert f"A network for each of 2 folds of {len(KEPT_IN)} patients" in card
    assert "with the rule that all others choose" in card
    assert len(trained.left_out) == 2
