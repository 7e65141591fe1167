from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.segmentation import framing


def disc(*, size: int, centre: tuple[float, float], radius: float, brightness: float = 100.0) -> NDArray[np.float32]:
    rows, columns = np.mgrid[:size, :size]
    plane = np.hypot(rows - centre[0], columns - centre[1]) < radius
    return np.repeat(plane[None].astype(np.float32) * brightness, 4, axis=0)


def test_the_head_fills_the_frame_wherever_it_lies_and_however_large_the_field_of_view_is() -> None:
    near = disc(size=256, centre=(128, 128), radius=100)
    far = disc(size=256, centre=(80, 150), radius=40)
    frames = []
    for stack in (near, far):
        found = framing.find(stack, (1.0, 1.0))
        assert found is not None
        frames.append(framing.to_model(stack, found, 128))
    assert np.abs(frames[0] - frames[1]).mean() < 0.03


def test_brightness_and_offset_of_the_scanner_do_not_matter() -> None:
    stack = disc(size=128, centre=(64, 64), radius=50)
    first, second = framing.find(stack, (1.0, 1.0)), framing.find(stack * 7 + 300, (1.0, 1.0))
    assert first is not None
    assert second is not None
    difference = framing.to_model(stack, first, 128) - framing.to_model(stack * 7 + 300, second, 128)
    assert np.abs(difference).max() < 1e-4


def test_unequal_pixel_sides_are_made_square() -> None:
    stack = disc(size=256, centre=(128, 128), radius=100)
    found = framing.find(stack[:, ::2], (2.0, 1.0))
    assert found is not None
    assert found.height * 2.0 == pytest.approx(found.width)
    image = framing.to_model(stack[:, ::2], found, 128)[0] > -0.6
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 2


def test_a_map_comes_back_to_where_it_was_seen() -> None:
    stack = disc(size=200, centre=(100, 90), radius=70)
    lesion: NDArray[np.float32] = disc(size=200, centre=(120, 80), radius=15, brightness=1.0)
    found = framing.find(stack, (1.0, 1.0))
    assert found is not None
    unit = framing.Framing(found.top, found.left, found.height, found.width, 0.0, 1.0)
    seen = np.asarray((framing.to_model(lesion, unit, 128) + 1) / 2, dtype=np.float32)
    back = framing.from_model(seen, found, (4, 200, 200)) > 0.5
    truth = lesion > 0
    assert 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.95


def test_a_stack_without_contrast_has_no_frame() -> None:
    assert framing.find(np.full((3, 64, 64), 5.0, np.float32), (1.0, 1.0)) is None


def test_the_inside_of_the_skull_belongs_to_the_head() -> None:
    image = disc(size=128, centre=(64, 64), radius=50, brightness=2.0)[0] - 1.0
    image[50:70, 50:70] = -1.0
    assert framing.head(image)[60, 60]
    assert not framing.head(image)[2, 2]
