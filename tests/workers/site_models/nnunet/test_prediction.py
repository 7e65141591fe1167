"""Labels and probabilities from logits that come one channel at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

pytest.importorskip("nnunetv2", reason="nnU-Net is not installed: pip install 'oncue[nnunet]'")

from workers.site_models.nnunet import prediction as nnunet_prediction

SHAPE = (8, 64, 64)


def channels(count: int) -> Iterator[NDArray[np.float32]]:
    draw = np.random.default_rng(1)
    for _ in range(count):
        yield (30 * draw.standard_normal(SHAPE)).astype(np.float32)


def peak_bytes(count: int) -> int:
    tracemalloc.start()
    try:
        nnunet_prediction._of_labels(channels(count), {2})
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_channel_by_channel_is_the_same_as_all_at_once() -> None:
    labels, probability = nnunet_prediction._of_labels(channels(9), {2, 7})
    whole = softmax(np.stack(list(channels(9))).astype(np.float64), axis=0)
    np.testing.assert_array_equal(labels, whole.argmax(axis=0))
    np.testing.assert_allclose(probability, whole[2] + whole[7], atol=1e-5)
    assert (labels.dtype.name, probability.dtype.name) == ("uint8", "float32")


def test_memory_does_not_grow_with_the_number_of_labels() -> None:
    assert peak_bytes(100) < 1.1 * peak_bytes(4)


def test_of_regions_that_overlap_the_later_one_is_drawn() -> None:
    outer, inner = np.full(SHAPE, 3, np.float32), np.full(SHAPE, -3, np.float32)
    inner[:4] = 2
    labels, probability = nnunet_prediction._of_regions(iter([outer, inner]), [1, 3], {3})
    assert set(np.unique(labels[:4])) == {3}
    assert set(np.unique(labels[4:])) == {1}
    assert probability[0, 0, 0] == pytest.approx(1 / (1 + np.exp(-2)))
