"""A patient's score in relation to the patient's own peak."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from workers.errors import WeightsMismatch
from workers.segmentation.calibration import CaseScale
from workers.segmentation.families import FAMILIES, LIMB_MR
from workers.segmentation.family_calibration import CALIBRATION, FamilyCalibration, read_calibration
from workers.segmentation.mask import MaskRule, case_level, kept_components
from workers.segmentation.own_level import PEAK_ML, OwnLevel
from workers.segmentation.random_walk import Walk

SPACING = (4.0, 2.0, 2.0)
OWN = OwnLevel(Walk(0.04, 0.005), 0.5)
RULE = MaskRule(0.0, 0.5, 1.0, 9.0, 0.35)


def mass() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images with an even disc in brighter tissue, the disc, and a score that knows only its middle."""
    z, y, x = np.indices((12, 48, 48))
    disc = ((y - 24) ** 2 + (x - 24) ** 2 < 144) & (z > 2) & (z < 9)
    images = np.where(disc, -0.4, 0.4).astype(np.float32)
    score = np.where(((y - 24) ** 2 + (x - 24) ** 2 < 16) & (z > 3) & (z < 8), 0.9, 0.0).astype(np.float32)
    return images, disc, score


def test_a_score_reaches_the_edge_of_what_looks_alike_and_keeps_its_peak() -> None:
    images, disc, score = mass()
    spread = OWN.spread(score, images, SPACING)
    found = spread > OWN.rule(RULE, spread, SPACING).threshold
    assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.9
    assert case_level(spread, SPACING, PEAK_ML) == pytest.approx(case_level(score, SPACING, PEAK_ML), rel=0.02)


def test_the_level_is_a_share_of_the_patient_s_own_peak() -> None:
    images, _, score = mass()
    levels = [
        OWN.rule(RULE, OWN.spread(score * np.float32(faint), images, SPACING), SPACING).threshold
        for faint in (1.0, 0.5)
    ]
    assert levels[1] == pytest.approx(levels[0] / 2, rel=0.02)


def test_a_stack_without_any_score_stays_without() -> None:
    images, _, score = mass()
    assert not OWN.spread(np.zeros_like(score), images, SPACING).any()


def test_of_two_finds_the_one_that_is_much_more_suspicious_stays() -> None:
    score = np.zeros((5, 40, 40), np.float32)
    score[1:4, 5:20, 5:20] = 0.7
    score[1:4, 26:38, 26:38] = 0.95
    both, one = (
        kept_components(score, SPACING, replace(OWN, share=0.3, top_share=top).rule(RULE, score, SPACING)) > 0
        for top in (0.7, 0.8)
    )
    assert both[2, 10, 10]
    assert both[2, 30, 30]
    assert one[2, 30, 30]
    assert not one[2, 10, 10]


def test_nothing_is_marked_of_a_patient_of_whom_nothing_is_suspicious_enough() -> None:
    _, _, score = mass()
    sure, unsure = (replace(OWN, least_peak=least).rule(RULE, score, SPACING) for least in (0.85, 0.95))
    assert (kept_components(score, SPACING, sure) > 0).any()
    assert not (kept_components(score, SPACING, unsure) > 0).any()


def test_the_calibration_keeps_the_own_level_and_reads_without_one(tmp_path: Path) -> None:
    known = FamilyCalibration(LIMB_MR, RULE, CaseScale(1.0, 0.8), 0.4, replace(OWN, top_share=0.9, least_peak=0.7))
    known.write(tmp_path)
    assert read_calibration(tmp_path) == known
    FamilyCalibration(LIMB_MR, RULE, CaseScale(1.0, 0.8), 0.4).write(tmp_path)
    assert read_calibration(tmp_path).own is None


def test_an_own_level_that_cannot_be_read_is_no_calibration(tmp_path: Path) -> None:
    FamilyCalibration(LIMB_MR, RULE, CaseScale(1.0, 0.8), 0.4, OWN).write(tmp_path)
    content = json.loads((tmp_path / CALIBRATION).read_text())
    content["own_level"] = {"share": 0.5}
    (tmp_path / CALIBRATION).write_text(json.dumps(content))
    with pytest.raises(WeightsMismatch, match="does not fit"):
        read_calibration(tmp_path)


def test_the_shipped_nodules_have_one_level_for_all() -> None:
    assert read_calibration(Path("models/families/lung-ct")).own is None


@pytest.mark.parametrize("family", FAMILIES)
def test_no_shipped_family_scores_a_case_above_one_half_in_which_its_peak_forbids_a_mask(family: str) -> None:
    known = read_calibration(Path("models/families") / family)
    assert known.own is None or known.own.least_peak <= known.case.half
