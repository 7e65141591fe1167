from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.imaging.stored_bits import carries_more, stored_values

Y, X = np.mgrid[:64, :64]
SMOOTH = np.rint(900 + 500 * np.sin(X / 9) * np.cos(Y / 11)).astype(np.uint16)
NOISE = np.random.default_rng(5).integers(0, 1 << 16, SMOOTH.shape).astype(np.uint16)


def disc(inside: int, outside: int) -> NDArray[np.uint16]:
    """A body with hard edges and a little structure."""
    return np.where((Y - 32) ** 2 + (X - 32) ** 2 < 25**2, inside + SMOOTH // 8, outside).astype(np.uint16)


@pytest.mark.parametrize("bits", [4, 6, 8, 9, 10])
def test_an_image_with_more_bits_than_it_says_is_known(bits: int) -> None:
    assert carries_more(SMOOTH, bits, signed=False)
    assert carries_more(disc(200, 0), bits, signed=False) or disc(200, 0).max() < 1 << bits


@pytest.mark.parametrize(
    "upper",
    [
        np.where((Y > 5) & (Y < 20) & (X > 9), 0x1000, 0),
        np.where(X % 9 == 0, 0x8000, 0) | np.where(Y < 12, 0x1000, 0),
        np.full(SMOOTH.shape, 0xF000),
        NOISE & 0xF000,
        NOISE & 0x1000,
    ],
    ids=["one overlay", "two overlays", "all set", "rubbish", "rubbish in one bit"],
)
@pytest.mark.parametrize("image", [SMOOTH, disc(300, 0), disc(2000, 10)], ids=["smooth", "dim", "bright"])
def test_what_lies_above_the_image_is_no_image(image: NDArray[np.uint16], upper: NDArray[np.int64]) -> None:
    words = (image | upper.astype(np.uint16)).astype(np.uint16)
    assert not carries_more(words, 12, signed=False)
    assert np.array_equal(stored_values(words, 12, signed=False), image)


@pytest.mark.parametrize("mask", [0xFFFF, 0x0FFF], ids=["sign extended", "sign not extended"])
def test_negative_values_are_no_image_beyond_the_stored_bits(mask: int) -> None:
    values = SMOOTH.astype(np.int16) - 900
    words = (values.view(np.uint16) & np.uint16(mask)).view(np.int16)
    assert not carries_more(words, 12, signed=True)
    assert np.array_equal(stored_values(words, 12, signed=True), values)
