"""Residuals as a learned input: where they are drawn, what the heads are shown, and a trial from data to report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from lab.patients import Role, is_seen_whole, role, write_seen
from lab.training.families import channel_head, folds, residual_trial, residuals
from lab.training.families.channel_head import ChannelHead, PaintedSamples
from lab.training.families.settings import FamilySettings
from lab.training.settings import StageSettings
from tests.conftest import ROOT
from tests.support.bright_network import bright
from workers.config import SEGMENTATION_FOLDER
from workers.errors import WeightsMismatch
from workers.segmentation.calibration import CaseScale
from workers.segmentation.families import PET
from workers.segmentation.family_calibration import FamilyCalibration
from workers.segmentation.mask import MaskRule

FOUNDATION = ROOT / "models" / SEGMENTATION_FOLDER
NAMES = tuple(f"P{number}" for number in range(40))
TUNED = tuple(name for name in NAMES if role(name) is Role.TUNE)[:2]
OTHERS = (
    next(name for name in NAMES if is_seen_whole(name)),
    next(name for name in NAMES if role(name) is Role.TEST),
)
RULE = MaskRule(threshold=0.5, peak=0.5, minimum_ml=0.1, smoothing_mm=4.5, share=0.5)


def write(folder: Path, name: str) -> None:
    z, y, x = np.indices((7, 40, 36))
    body = ((y - 20) / 18) ** 2 + ((x - 18) / 16) ** 2 < 1
    tumor = ((y - 16) ** 2 + (x - 22) ** 2 < 9) & (z == 0)
    image = np.where(tumor, 12.0, np.where(body, 0.6, 0.0)) * np.random.default_rng(len(name)).normal(1, 0.05, z.shape)
    np.savez(folder / f"{name}__PET.npz", image=image.astype(np.float16), mask=tumor, spacing_mm=(4.0, 4.0, 4.0))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    folder = root / "sarcoma-ct-pet-mr"
    folder.mkdir()
    for name in (*TUNED, *OTHERS):
        write(folder, name)
    return root


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    place = root / "families" / "pet"
    place.mkdir(parents=True)
    weights = {name: value.contiguous() for name, value in bright(PET).state_dict().items()}
    save_file(weights, place / "network.safetensors")
    FamilyCalibration(PET, RULE, CaseScale(1.0, 0.5)).write(place)
    (root / SEGMENTATION_FOLDER).symlink_to(FOUNDATION)
    return root


@pytest.mark.slow
def test_a_trial_reads_each_tuning_patient_and_no_other(
    data: Path, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--samples", "10", "--steps", "3", "--heads", "1", "--out", str(tmp_path))
    residual_trial.main(("--family", "pet", "--data", str(data), "--models", str(models), *few))

    written = json.loads((tmp_path / "pet.json").read_text(encoding="utf-8"))
    assert {case["patient"] for case in written["cases"]} == set(TUNED)
    for case in written["cases"]:
        assert case["smoothed"]["score"] > 0.9
        assert case["redrawn"] == pytest.approx(1 / 7)
        assert case["feature"] > 0.0
    assert "sarcoma, 2 patients: " in capsys.readouterr().out


def test_networks_that_have_seen_a_patient_do_not_read_that_patient(data: Path, models: Path, tmp_path: Path) -> None:
    weights = models / "families" / "pet" / "network.safetensors"
    for number in range(2):
        (tmp_path / f"network-{number}.safetensors").symlink_to(weights)
    settings = FamilySettings(PET, data, out=tmp_path, work=tmp_path)
    with pytest.raises(WeightsMismatch, match="was not trained without the patients of fold 0"):
        residual_trial.shipped_folds(settings)

    dealt = {fold.number: fold.left_out for fold in folds.deal({*TUNED, *OTHERS}, 2)}
    left_out = {f"network-{number}.safetensors": patients or frozenset() for number, patients in dealt.items()}
    write_seen({*TUNED, OTHERS[0]}, tmp_path, left_out=left_out)
    found = residual_trial.shipped_folds(settings)
    assert [(fold.number, file.name) for fold, file in found] == [
        (number, f"network-{number}.safetensors") for number in (0, 1)
    ]
    read = [case.patient for fold, _ in found for _, case in residual_trial.listed(settings, fold, None)]
    assert sorted(read) == sorted({*TUNED, OTHERS[0]})


@pytest.mark.slow
def test_residuals_are_drawn_around_what_is_suspicious_and_nowhere_else() -> None:
    redrawer = residuals.Redrawer.load(FOUNDATION, PET, torch.float32)
    y, x = np.indices((48, 80))
    images = np.stack([np.where((y - 12) ** 2 + (x - 66) ** 2 < 25, 0.9, -0.2)] * 2).astype(np.float32)
    scores = np.stack([(images[0] > 0) * 0.9, np.zeros((48, 80))]).astype(np.float32)

    channels = redrawer.channels(images, scores)

    assert channels.shape == (2, 3, 48, 80)
    np.testing.assert_allclose(channels[:, 0].sigmoid(), scores.clip(1e-4, 1 - 1e-4), rtol=1e-3)
    near = (y - 12) ** 2 + (x - 66) ** 2 < 12**2
    for residual in channels[0, 1:].numpy():
        assert residual[scores[0] > 0].mean() > 0.0
        assert not residual[~near].any()
    assert not channels[1, 1:].any()


@pytest.mark.parametrize("shape", [(48, 40), (64, 64), (150, 90)])
def test_windows_together_show_everything_suspicious(shape: tuple[int, int]) -> None:
    suspicious = np.random.default_rng(3).random((3, *shape)) > 0.995
    suspicious[0] = False
    suspicious[2, 5:20, 3:38] = True
    shown: NDArray[np.bool_] = np.zeros_like(suspicious)
    for window in residuals.windows(suspicious, 64):
        for start, length in ((window.top, shape[0]), (window.left, shape[1])):
            assert start <= max(0, length - 64)
            assert start + 64 >= min(64, length)
        shown[window.z, max(0, window.top) : window.top + 64, max(0, window.left) : window.left + 64] = True
    assert not (suspicious & ~shown).any()
    assert not shown[0].any()


def samples(count: int) -> PaintedSamples:
    """Return samples whose score says little, and whose pixel residual shows the lesion."""
    rng = np.random.default_rng(5)
    masks = np.zeros((count, 1, 24, 24), np.float32)
    for mask, (top, left) in zip(masks[:, 0], rng.integers(2, 16, (count, 2)), strict=True):
        mask[top : top + 6, left : left + 6] = 1.0
    score = masks * 0.5 + rng.normal(0.0, 2.0, masks.shape)
    seen = masks * 0.4 + rng.random(masks.shape) * 0.1
    channels = np.concatenate([score, seen, rng.random(masks.shape)], axis=1).astype(np.float32)
    return PaintedSamples(torch.from_numpy(channels), torch.from_numpy(masks), torch.ones(masks.shape))


def test_what_residuals_show_is_learned_by_the_head_that_is_shown_them() -> None:
    learned, held_back = samples(24), samples(30).at(slice(24, None))
    plan = StageSettings(60, 8, 1e-2)
    blind, seeing = (channel_head.fit(learned, plan, seed=0, blind=blind) for blind in (True, False))
    found = [channel_head.painted_precision(held_back, head) for head in (None, blind, seeing)]
    assert found[2] > 0.95
    assert found[2] > max(found[:2]) + 0.2


def test_a_blind_head_answers_the_same_whatever_the_residuals_are() -> None:
    some = samples(4)
    others = replace(some, channels=some.channels * torch.tensor([1.0, 3.0, 0.0]).view(1, 3, 1, 1))
    for blind in (True, False):
        head = channel_head.fit(some, StageSettings(3, 2, 1e-2), seed=0, blind=blind)
        assert torch.equal(head(some.channels), head(others.channels)) is blind


def test_a_head_that_has_learned_nothing_gives_back_the_score() -> None:
    head = ChannelHead(torch.ones(2), blind=False)
    some = samples(2).channels
    assert torch.equal(head(some), some[:, :1])
