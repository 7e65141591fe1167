from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lab import metrics
from lab.training import rules
from lab.training.rules import Scored
from workers.segmentation import edges, random_walk
from workers.segmentation.mask import MaskRule, kept_components, smooth_across, to_mask

SPACING = (5.0, 1.5, 1.5)


def scored(seed: int, level: float = 0.8) -> Scored:
    """Make a case whose lesion scores high, beside a faint echo elsewhere and a speck far away."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((14, 48, 48), bool)
    truth[5:8, 10:22, 10:22] = True
    score = np.where(truth, level, 0.05) + rng.normal(0, 0.02, truth.shape)
    score[6, 30:36, 30:36] = 0.55
    score[12, 40:43, 40:43] = 0.75
    return Scored(np.clip(score, 0, 1).astype(np.float32), truth, SPACING)


def pictured(seed: int) -> Scored:
    """Make such a case on the model's grid, with its picture: the score is a blob wider than the lesion."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:128, :128]
    picture = np.repeat(np.where(np.hypot(rows - 64, columns - 64) < 58, 0.4, 0.0)[None], 14, axis=0)
    truth = np.zeros(picture.shape, bool)
    truth[5:8, 48:75, 42:69] = True
    picture[truth] = 0.75
    score = np.full(picture.shape, 0.03)
    score[5:8, 46:78, 40:72] = 0.95
    score[6, 90:96, 50:56] = 0.55
    score += rng.normal(0, 0.01, score.shape)
    grey = np.clip(picture + rng.normal(0, 0.02, picture.shape), 0, 1)
    images = (grey * 2 - 1).astype(np.float32)
    return Scored(np.clip(score, 0, 1).astype(np.float32), truth, SPACING, images)


RULES = [
    MaskRule(0.5, 0.0, 0.0, 0.0, 0.0),
    MaskRule(0.4, 0.6, 0.3, 2.5, 0.2),
    MaskRule(0.2, 0.6, 0.3, 2.5, 0.2, slope=0.5, drop=1.0),
]


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_judged_as_the_segmenter_applies_it(rule: MaskRule) -> None:
    cases = [scored(seed) for seed in range(3)]
    dices, alarms, far = [], 0, 0
    for case in cases:
        smoothed = smooth_across(case.score, SPACING[0], rule.smoothing_mm)
        mask = to_mask(smoothed, SPACING, rule)
        dices.append(metrics.dice(mask, case.truth))
        wrong, seen = metrics.false_alarms(mask, case.truth)
        alarms, far = alarms + wrong, far + seen
    worth = rules.judge(cases, rule)
    assert worth.dice == pytest.approx(float(np.mean(dices)), abs=0.01)
    assert worth.alarms == pytest.approx(alarms / far)


def test_a_rule_that_follows_the_grey_is_judged_as_the_segmenter_applies_it() -> None:
    case, rule = pictured(0), MaskRule(0.4, 0.6, 0.3, 2.5, 0.2, reach_mm=6.0)
    seen = case.smoothed(rule.smoothing_mm)
    greys = seen.greys()
    assert greys is not None
    labels = kept_components(seen.score, SPACING, rule)
    mask = edges.follow_grey(labels, seen.score, greys, spacing_mm=SPACING, reach_mm=rule.reach_mm)
    assert rules.judge([case], rule).dice == pytest.approx(metrics.dice(mask, case.truth))
    assert metrics.dice(mask, case.truth) > 0.95


def test_a_rule_whose_score_is_spread_is_judged_as_the_segmenter_applies_it() -> None:
    case, rule = pictured(0), MaskRule(0.4, 0.6, 0.3, 2.5, 0.2, spread=True)
    seen = case.smoothed(rule.smoothing_mm)
    greys = seen.greys()
    assert greys is not None
    mask = to_mask(seen.score, SPACING, rule, spread=random_walk.spread(seen.score, greys, SPACING))
    assert rules.judge([case], rule).dice == pytest.approx(metrics.dice(mask, case.truth))
    assert rules.judge([case], rule).dice > rules.judge([case], replace(rule, spread=False)).dice


@pytest.mark.slow
def test_the_search_lets_edges_follow_the_grey_where_that_is_better_and_only_where_there_are_pictures() -> None:
    cases = [pictured(seed) for seed in range(2)]
    seen, _ = rules.choose(cases)
    unseen, _ = rules.choose([replace(case, images=None) for case in cases])
    assert (seen.reach_mm > 0, seen.spread) == (True, True)
    assert (unseen.reach_mm > 0, unseen.spread) == (False, False)


def test_the_search_finds_a_rule_that_keeps_the_lesion_and_drops_what_is_beside_it() -> None:
    heard: list[tuple[int, int]] = []
    rule, worth = rules.choose([scored(seed) for seed in range(3)], on_progress=lambda *step: heard.append(step))
    assert heard == [(done, rules.SEARCHED_LEVELS) for done in range(1, rules.SEARCHED_LEVELS + 1)]
    assert worth.dice > 0.97
    assert worth.alarms == 0.0
    assert rule.peak > 0.5 or rule.share > 0.0 or rule.minimum_ml > 0.0


def test_of_rules_of_the_same_worth_the_search_takes_the_one_that_asks_most_of_further_components() -> None:
    cases = [scored(seed) for seed in range(3)]
    rule, worth = rules.choose(cases)
    looser = replace(rule, share=rule.share / 2)
    assert rules.judge(cases, looser).value <= worth.value
    assert rule.share == max(rules.SHARES)


def test_false_alarms_above_the_limit_lower_the_worth_of_a_rule() -> None:
    assert rules.Worth(0.8, 0.02).value == 0.8
    assert rules.Worth(0.8, 0.10).value < 0.75


def healthy(level: float) -> Scored:
    """Make a case without tumour in which something scores as high as ``level``."""
    reached = np.zeros((14, 48, 48), np.float32)
    reached[4:10, 10:22, 10:22] = level
    return Scored(reached, np.zeros(reached.shape, bool), SPACING)


def marked(case: Scored, rule: MaskRule) -> bool:
    return bool(to_mask(smooth_across(case.score, SPACING[0], rule.smoothing_mm), SPACING, rule).any())


def test_the_search_keeps_above_what_healthy_cases_reach_where_no_patient_is_lost_by_it() -> None:
    rule, worth = rules.choose([*(scored(seed, 0.93) for seed in range(3)), healthy(0.85)])
    assert not marked(healthy(0.85), rule)
    assert worth.dice > 0.97


def test_one_healthy_case_is_not_kept_empty_at_the_price_of_three_patients() -> None:
    cases = [scored(seed) for seed in range(3)]
    rule, _ = rules.choose([*cases, healthy(0.97)])
    assert marked(healthy(0.97), rule)
    assert all(marked(case, rule) for case in cases)


def test_a_peak_is_raised_only_where_that_serves_the_cases_of_another_look() -> None:
    cases, rule = [scored(seed, 0.93) for seed in range(3)], MaskRule(0.4, 0.8, 0.2, 4.5, 0.5)
    assert rules.raised(rule, cases) == rule
    assert not marked(healthy(0.85), rules.raised(rule, [*cases, healthy(0.85)]))
    assert rules.raised(rule, [*cases, healthy(0.97)]) == rule


def test_a_lesion_that_goes_on_beyond_its_truth_is_no_alarm_where_strangers_alone_are() -> None:
    case = scored(0)
    case.score[8:12, 12:20, 12:20] = 0.8
    rule = MaskRule(0.5, 0.0, 0.0, 0.0, 0.9)
    both, strangers = (rules.judge([replace(case, strangers_only=only)], rule) for only in (False, True))
    assert both.alarms > 0
    assert strangers.alarms == 0
    assert strangers.dice == both.dice


def test_a_stranger_is_an_alarm_either_way() -> None:
    rule = MaskRule(0.5, 0.0, 0.0, 0.0, 0.0)
    both, strangers = (rules.judge([replace(scored(0), strangers_only=only)], rule) for only in (False, True))
    assert strangers.alarms == both.alarms > 0
