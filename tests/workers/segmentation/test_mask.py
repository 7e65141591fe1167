from __future__ import annotations

import numpy as np

from workers.segmentation.mask import MaskRule, case_level, kept_components, smooth_across, to_mask

SPACING = (5.0, 1.0, 1.0)
RULE = MaskRule(threshold=0.5, peak=0.8, minimum_ml=0.5, smoothing_mm=3.0, share=0.3)


def scores(*, peak: float, side: int) -> np.ndarray:
    stack = np.zeros((6, 64, 64), np.float32)
    stack[3, 10 : 10 + side, 10 : 10 + side] = peak
    return stack


def test_a_large_certain_component_stays() -> None:
    assert to_mask(scores(peak=0.9, side=12), SPACING, RULE).sum() == 144


def test_a_small_component_is_dropped() -> None:
    assert not to_mask(scores(peak=0.9, side=9), SPACING, RULE).any()


def test_an_uncertain_component_is_dropped() -> None:
    assert not to_mask(scores(peak=0.7, side=12), SPACING, RULE).any()


def test_a_certain_lesion_ends_at_a_higher_level_than_a_faint_one() -> None:
    rule = MaskRule(threshold=0.2, peak=0.0, minimum_ml=0.0, smoothing_mm=0.0, share=0.0, slope=0.5, drop=1.5)
    stack = np.zeros((8, 64, 64), np.float32)
    for z, peak in ((1, 0.999), (6, 0.7)):
        stack[z, 10:40, 10:40] = 0.4
        stack[z, 15:35, 15:35] = peak
    mask = to_mask(stack, SPACING, rule)
    assert mask[1].sum() == 20 * 20
    assert mask[6].sum() == 30 * 30


def test_no_level_of_a_components_own_lies_below_the_threshold() -> None:
    rule = MaskRule(threshold=0.5, peak=0.0, minimum_ml=0.0, smoothing_mm=0.0, share=0.0, slope=1.0, drop=9.0)
    stack = scores(peak=0.9, side=12)
    stack[3, 30:40, 30:40] = 0.45
    assert to_mask(stack, SPACING, rule).sum() == 144


def test_a_hole_inside_a_slice_is_filled() -> None:
    stack = scores(peak=0.9, side=20)
    stack[3, 18:22, 18:22] = 0.0
    assert to_mask(stack, SPACING, RULE).sum() == 400


def test_smoothing_spreads_over_millimetres_and_never_touches_a_single_slice() -> None:
    stack = scores(peak=1.0, side=12)
    thick, thin = smooth_across(stack, 5.0, 3.0), smooth_across(stack, 1.0, 3.0)
    assert thick[3, 15, 15] > thin[3, 15, 15] > 0
    assert smooth_across(stack[:1], 5.0, 3.0) is not None
    np.testing.assert_array_equal(smooth_across(stack[3:4], 5.0, 3.0), stack[3:4])


def test_what_the_last_slice_of_a_whole_stack_shows_alone_is_not_confirmed() -> None:
    whole, short = np.zeros((12, 8, 8), np.float32), np.zeros((4, 8, 8), np.float32)
    whole[-1], short[-1] = 1.0, 1.0
    assert smooth_across(whole, 5.0, 4.5)[-1].max() < 0.6
    assert smooth_across(short, 5.0, 4.5)[-1].min() > 0.65
    whole[-3:] = 1.0
    assert smooth_across(whole, 5.0, 4.5)[-2].min() > 0.85


def test_the_case_level_counts_volume_not_single_voxels() -> None:
    lone, lesion = scores(peak=1.0, side=2), scores(peak=1.0, side=15)
    assert case_level(lone, SPACING, 1.0) < 0.05
    assert case_level(lesion, SPACING, 1.0) == 1.0


def test_a_faint_echo_beside_a_clear_lesion_is_dropped_and_a_second_lesion_stays() -> None:
    stack = scores(peak=0.9, side=30)
    stack[1, 45:57, 45:57] = 0.85
    assert not to_mask(stack, SPACING, RULE)[1].any()
    stack[1, 40:60, 40:60] = 0.85
    assert to_mask(stack, SPACING, RULE)[1].sum() == 400


def test_a_component_ends_where_the_spread_score_does_and_stays_by_the_score_itself() -> None:
    score, spread = scores(peak=0.9, side=12), scores(peak=0.6, side=16)
    assert to_mask(score, SPACING, RULE, spread=spread).sum() == 256
    assert not to_mask(scores(peak=0.7, side=12), SPACING, RULE, spread=scores(peak=0.95, side=16)).any()


def test_kept_components_stay_apart_by_their_numbers() -> None:
    stack = scores(peak=0.9, side=30)
    stack[1, 40:60, 40:60] = 0.85
    stack[5, :12, :12] = 0.6
    labels = kept_components(stack, SPACING, RULE)
    assert len(np.unique(labels[1][labels[1] > 0])) == len(np.unique(labels[3][labels[3] > 0])) == 1
    assert labels[1].max() != labels[3].max()
    assert not labels[5].any()
