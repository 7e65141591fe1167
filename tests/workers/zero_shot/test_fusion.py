from __future__ import annotations

import numpy as np
import pytest

from workers.zero_shot.fusion import FusionRule, fused, grown, lesions, z_scores


def test_z_scores_count_deviations_over_healthy_tissue_whatever_a_small_lesion_does() -> None:
    values = np.random.default_rng(0).normal(7.0, 2.0, (4, 50, 50)).astype(np.float32)
    values[0, :10, :10] = 27.0
    scores = z_scores(values, np.ones(values.shape, dtype=bool))
    assert scores[0, 0, 0] == pytest.approx(10.0, abs=0.5)
    assert abs(float(np.median(scores))) < 1e-6


def test_maps_that_are_alike_everywhere_say_nothing() -> None:
    flat = np.ones((1, 20, 20), dtype=np.float32)
    assert not z_scores(flat, np.ones(flat.shape, dtype=bool)).any()
    assert not z_scores(flat, np.zeros(flat.shape, dtype=bool)).any()


def test_the_score_is_a_half_where_the_mean_z_score_is_the_rules() -> None:
    rule = FusionRule()
    level = np.full((1, 2, 2), rule.lesion, dtype=np.float32)
    assert fused(level, level, level, rule) == pytest.approx(0.5)
    assert fused(-level, -level, -level, rule) == pytest.approx(0.0)
    assert float(fused(level, level * 1e6, level, rule).max()) < 1.0


def test_a_region_grows_by_millimetres_within_its_own_tile() -> None:
    region = np.zeros((2, 21, 21), dtype=bool)
    region[0, 10, 10] = True
    wide = grown(region, (2.0, 1.0), 4.0)
    assert wide[0, :, 10].sum() == 5
    assert wide[0, 10, :].sum() == 9
    assert not wide[1].any()


def test_small_parts_are_dropped_and_holes_filled() -> None:
    score = np.zeros((3, 30, 30), dtype=np.float32)
    score[1, 5:15, 5:15] = 0.9
    score[1, 9, 9] = 0.0
    score[0, 25, 25] = 0.9
    mask = lesions(score, (5.0, 2.0, 2.0), threshold=0.5, minimum_ml=0.5)
    assert mask[1, 9, 9]
    assert int(mask.sum()) == 100
