from __future__ import annotations

import numpy as np
import pytest

from workers.evaluation import metrics


def stack(*slices_with_tumor: int, count: int = 12) -> np.ndarray:
    mask = np.zeros((count, 8, 8), bool)
    for z in slices_with_tumor:
        mask[z, 2:4, 2:4] = True
    return mask


def test_dice_of_equal_half_and_disjoint_masks() -> None:
    assert metrics.dice(stack(3), stack(3)) == 1.0
    assert metrics.dice(stack(3), stack(3, 4)) == pytest.approx(2 / 3)
    assert metrics.dice(stack(3), stack(9)) == 0.0


def test_two_empty_masks_agree() -> None:
    assert metrics.dice(stack(), stack()) == 1.0
    assert metrics.dice(stack(2), stack()) == 0.0


def test_false_alarms_count_only_slices_more_than_two_away_from_tumor() -> None:
    assert metrics.false_alarms(stack(4, 7, 8, 11), stack(5)) == (2, 7)


def test_without_tumor_every_slice_counts() -> None:
    assert metrics.false_alarms(stack(1), stack()) == (1, 12)


def test_auroc_of_perfect_reversed_and_tied_scores() -> None:
    labels = [False, False, True, True]
    assert metrics.auroc([1, 2, 3, 4], labels) == 1.0
    assert metrics.auroc([4, 3, 2, 1], labels) == 0.0
    assert metrics.auroc([1, 1, 1, 1], labels) == 0.5
    assert metrics.auroc([1, 2], [True, True]) is None


def test_the_bootstrap_is_the_same_every_time_and_holds_the_mean() -> None:
    values = np.linspace(0.2, 0.9, 13)
    first = metrics.bootstrap(values)
    assert first == metrics.bootstrap(values)
    assert first.lo < first.mean < first.hi
    assert metrics.bootstrap([0.5, 0.5]) == metrics.Interval(0.5, 0.5, 0.5)
