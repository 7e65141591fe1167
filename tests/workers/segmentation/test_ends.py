"""Where components end along a stack."""

from __future__ import annotations

import numpy as np

from workers.segmentation.ends import cut_ends


def stack(*areas: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores of one component with so many voxels in each slice."""
    labels = np.zeros((len(areas), 1, 32), np.int32)
    for z, area in enumerate(areas):
        labels[z, 0, :area] = 3
    return labels, np.where(labels > 0, 0.9, 0.1).astype(np.float32)


def slices_of(labels: np.ndarray) -> list[int]:
    return list(np.flatnonzero(labels.any(axis=(1, 2))))


def test_a_thin_tail_along_the_body_is_no_part_of_a_component() -> None:
    labels, scores = stack(2, 3, 12, 20, 14, 4, 3, 2)
    assert slices_of(cut_ends(labels, scores, 0.3)) == [2, 3, 4]
    assert set(np.unique(cut_ends(labels, scores, 0.3))) == {0, 3}


def test_what_lies_beyond_a_gap_is_cut_too() -> None:
    labels, scores = stack(20, 18, 2, 12, 12)
    assert slices_of(cut_ends(labels, scores, 0.5)) == [0, 1]


def test_a_faint_slice_weighs_less_than_a_certain_one_of_the_same_area() -> None:
    labels, scores = stack(10, 10, 10)
    scores[2] *= 0.4
    assert slices_of(cut_ends(labels, scores, 0.5)) == [0, 1]


def test_without_a_share_nothing_is_cut() -> None:
    labels, scores = stack(1, 20, 1)
    np.testing.assert_array_equal(cut_ends(labels, scores, 0.0), labels)
