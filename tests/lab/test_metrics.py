from __future__ import annotations

import numpy as np
import pytest

from lab import bootstrap, metrics
from lab.segmentation.surface import surface_figures

MM = (5.0, 1.0, 1.0)


def stack(*slices_with_tumor: int, count: int = 12) -> np.ndarray:
    mask = np.zeros((count, 8, 8), bool)
    for z in slices_with_tumor:
        mask[z, 2:4, 2:4] = True
    return mask


def blobs(seed: int, shape: tuple[int, int, int] = (10, 24, 20)) -> np.ndarray:
    from scipy import ndimage

    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (1.0, 2.0, 2.0))
    return np.asarray(noise > np.quantile(noise, 0.85))


def test_dice_of_equal_half_and_disjoint_masks() -> None:
    assert metrics.dice(stack(3), stack(3)) == 1.0
    assert metrics.dice(stack(3), stack(3, 4)) == pytest.approx(2 / 3)
    assert metrics.dice(stack(3), stack(9)) == 0.0


def test_two_empty_masks_agree() -> None:
    assert metrics.dice(stack(), stack()) == 1.0
    assert metrics.dice(stack(2), stack()) == 0.0
    assert surface_figures(stack(), stack(), MM) == (1.0, 0.0)


def test_a_surface_distance_to_nothing_does_not_exist() -> None:
    assert surface_figures(stack(3), stack(), MM) == (0.0, None)
    assert surface_figures(stack(), stack(3), MM) == (0.0, None)


def test_surface_figures_of_a_shifted_square_are_those_counted_by_hand() -> None:
    truth, found = np.zeros((1, 20, 20), bool), np.zeros((1, 20, 20), bool)
    truth[0, 5:10, 5:10] = True
    found[0, 5:10, 8:13] = True
    share, farthest = surface_figures(found, truth, MM)
    assert share == pytest.approx(by_hand(found[0], truth[0], 2.0))
    assert farthest == pytest.approx(3.0)
    assert surface_figures(found, truth, (5.0, 0.5, 0.5))[0] > share


def by_hand(found: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    """Compare every outline pixel with every other one."""

    def outline(mask: np.ndarray) -> np.ndarray:
        inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
        return np.argwhere(np.pad(~inner, 1, constant_values=True) & mask)

    a, b = outline(found), outline(truth)
    apart = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    return float(((apart.min(axis=1) <= tolerance).sum() + (apart.min(axis=0) <= tolerance).sum()) / (len(a) + len(b)))


def test_two_planes_a_known_distance_apart() -> None:
    found, truth = np.zeros((9, 6, 6), bool), np.zeros((9, 6, 6), bool)
    found[2], truth[4] = True, True
    assert surface_figures(found, truth, (5.0, 1.0, 1.0)) == (0.0, 10.0)
    share, farthest = surface_figures(found, truth, (0.9, 1.0, 1.0))
    assert (share, farthest) == pytest.approx((1.0, 1.8))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (5.0, 0.9, 0.9), (3.0, 0.5, 0.8)])
@pytest.mark.filterwarnings("ignore:monai:FutureWarning")  # it calls itself in a way that it has deprecated
def test_surface_figures_are_those_of_monai(seed: int, spacing_mm: tuple[float, float, float]) -> None:
    pytest.importorskip("monai", reason="an independent reference, where it is installed")
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    found, truth = blobs(seed), blobs(seed + 100)
    ours = surface_figures(found, truth, spacing_mm)
    one, other = (torch.from_numpy(mask[None, None]).float() for mask in (found, truth))
    share = compute_surface_dice(one, other, [2.0], include_background=True, spacing=spacing_mm)
    farthest = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing_mm)
    assert ours[0] == pytest.approx(float(share), abs=1e-6)
    assert ours[1] == pytest.approx(float(farthest), abs=1e-4)


def precision_by_hand(scores: np.ndarray, labels: np.ndarray) -> float:
    """Sum precision times gained recall over every distinct score, from the highest."""
    area, reached = 0.0, 0
    for score in np.unique(scores)[::-1]:
        taken = scores >= score
        hits = int((taken & labels).sum())
        area += (hits - reached) / int(labels.sum()) * hits / int(taken.sum())
        reached = hits
    return area


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("digits", [1, 6])
def test_average_precision_is_the_one_that_is_added_up_by_hand(seed: int, digits: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(500) < 0.1
    scores = np.round(np.clip(labels * 0.3 + rng.normal(0.3, 0.3, 500), 0, 1), digits).astype(np.float32)
    assert metrics.average_precision(scores, labels) == pytest.approx(precision_by_hand(scores, labels), abs=1e-12)


@pytest.mark.parametrize("digits", [1, 6])
def test_auroc_is_the_share_of_pairs_in_the_right_order(digits: int) -> None:
    rng = np.random.default_rng(4)
    labels = rng.random(200) < 0.3
    scores = np.round(rng.random(200) + 0.3 * labels, digits)
    apart = scores[labels][:, None] - scores[~labels][None]
    pairs = float(((apart > 0) + 0.5 * (apart == 0)).mean())
    assert metrics.auroc(scores, labels) == pytest.approx(pairs, abs=1e-12)


def test_average_precision_of_perfect_constant_and_reversed_scores() -> None:
    labels = [True, False, False, False]
    assert metrics.average_precision([1, 0, 0, 0], labels) == 1.0
    assert metrics.average_precision([5, 5, 5, 5], labels) == pytest.approx(0.25)
    assert metrics.average_precision([0, 1, 2, 3], labels) == pytest.approx(0.25)
    assert metrics.average_precision([1, 2], [False, False]) is None


def test_a_lesion_is_found_when_a_tenth_of_it_is_covered() -> None:
    truth, found = np.zeros((6, 30, 30), bool), np.zeros((6, 30, 30), bool)
    truth[1, 2:7, 2:6] = True
    truth[4, 20:25, 20:24] = True
    found[1, 2, 2:4] = True
    found[4, 20, 20] = True
    found[5, 2:4, 2:4] = True
    assert metrics.count_lesions(found, truth) == metrics.LesionCount(lesions=2, found=1, false=1)
    assert metrics.count_lesions(found, np.zeros_like(truth)) == metrics.LesionCount(0, 0, 3)


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
    first = bootstrap.bootstrap(values)
    assert first == bootstrap.bootstrap(values)
    assert first.lo < first.mean < first.hi
    assert bootstrap.bootstrap([0.5, 0.5]) == bootstrap.Estimate(0.5, 0.5, 0.5)


def test_the_cases_of_one_patient_are_drawn_together() -> None:
    values = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    apart = bootstrap.mean_interval(values, list("abcdefgh"))
    together = bootstrap.mean_interval(values, list("aaaabbbb"))
    assert apart is not None
    assert together is not None
    assert apart.mean == together.mean == 0.5
    assert together.hi - together.lo == 1.0 > apart.hi - apart.lo


def test_every_patient_weighs_the_same_however_many_cases_it_has() -> None:
    figure = bootstrap.mean_interval([1.0, 0.0, 0.0, 0.0, None], ["a", "b", "b", "b", "c"])
    assert figure is not None
    assert figure.mean == 0.5
    assert bootstrap.mean_interval([None, None], ["a", "b"]) is None


def test_a_share_is_pooled_and_missing_where_there_is_nothing_to_share() -> None:
    figure = bootstrap.share_interval([1, 0, 2], [10, 0, 20], ["a", "b", "c"])
    assert figure is not None
    assert figure.mean == pytest.approx(0.1)
    assert bootstrap.share_interval([0, 0], [0, 0], ["a", "b"]) is None


def test_the_pooled_auroc_is_the_plain_one_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(5)
    labels = [rng.random(20) < 0.4 for _ in range(6)]
    scores = [np.round(marked * 0.5 + rng.random(20), 1) for marked in labels]
    figure = bootstrap.auroc_interval(scores, labels, list("aabbcd"))
    assert figure is not None
    assert figure.mean == pytest.approx(metrics.auroc(np.concatenate(scores), np.concatenate(labels)))
    assert figure.lo < figure.mean < figure.hi
    assert bootstrap.auroc_interval([np.ones(3)], [np.ones(3, bool)], ["a"]) is None
