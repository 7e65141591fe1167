from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.training import augmentation, lesions
from workers.training.lesions import FieldBank, Finding

Image = NDArray[np.float32]
Head = NDArray[np.bool_]


@pytest.fixture(scope="module")
def bank() -> FieldBank:
    return FieldBank(np.random.default_rng(0), count=2)


@pytest.fixture(scope="module")
def head() -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:128, :128]
    return np.asarray(np.hypot((rows - 64) / 1.2, columns - 64) < 44)


@pytest.fixture(scope="module")
def slice_image(head: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(head, -0.2, -1.0).astype(np.float32)


def painted(slice_image: Image, head: Head, bank: FieldBank, seed: int) -> lesions.Painted:
    return lesions.paint(slice_image, head, bank, np.random.default_rng(seed))


def test_the_same_seed_paints_the_same_lesion(slice_image: Image, head: Head, bank: FieldBank) -> None:
    first, again = painted(slice_image, head, bank, 3), painted(slice_image, head, bank, 3)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)


def test_lesions_lie_inside_the_head_and_their_slices_stay_in_range(
    slice_image: Image, head: Head, bank: FieldBank
) -> None:
    for seed in range(60):
        result = painted(slice_image, head, bank, seed)
        assert not (result.mask & ~head).any()
        assert result.image.min() >= -1.0
        assert result.image.max() <= 1.0
        assert result.mask.any() == (result.finding is not Finding.NONE)


def test_bright_lesions_are_brighter_and_dark_ones_darker_than_the_tissue(
    slice_image: Image, head: Head, bank: FieldBank
) -> None:
    seen = set()
    for seed in range(80):
        result = painted(slice_image, head, bank, seed)
        if result.finding is Finding.BRIGHT:
            assert result.image[result.mask].mean() > -0.2
        if result.finding is Finding.DARK:
            assert result.image[result.mask].mean() < -0.2
        seen.add(result.finding)
    assert seen == set(Finding)


def test_about_a_fifth_of_the_slices_stays_clean(slice_image: Image, head: Head, bank: FieldBank) -> None:
    clean = sum(not painted(slice_image, head, bank, seed).mask.any() for seed in range(200))
    assert 20 <= clean <= 70


def test_a_slice_without_room_stays_clean(slice_image: Image, bank: FieldBank) -> None:
    nothing = np.zeros((128, 128), bool)
    assert painted(slice_image, nothing, bank, 1).finding is Finding.NONE


def test_another_scan_keeps_the_anatomy_in_place(slice_image: Image, head: Head, bank: FieldBank) -> None:
    again = augmentation.rescan(slice_image, bank, np.random.default_rng(1))
    assert again[head].mean() > again[~head].mean() + 0.3
    assert again.min() >= -1.0
    assert again.max() <= 1.0
