from __future__ import annotations

import io

import numpy as np
from PIL import Image

from storage.domain import Geometry, Volume
from workers.overlays import choose_slices, draw_overlays


def _volume(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (5.0, 1.0, 1.0)) -> Volume:
    voxels = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    geometry = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), spacing)
    return Volume(voxels, geometry, "MR", "1.2", "1.3", None, ())


def _labels(shape: tuple[int, int, int], areas: dict[int, int]) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    for z, side in areas.items():
        labels[z, 10 : 10 + side, 10 : 10 + side] = 1
    return labels


def test_the_slices_with_most_lesion_are_shown_in_the_order_of_the_stack() -> None:
    labels = _labels((9, 64, 64), {2: 3, 4: 9, 5: 8, 7: 1})
    assert choose_slices(labels, most=3) == (2, 4, 5)


def test_a_study_without_a_lesion_shows_a_few_slices_from_its_middle() -> None:
    assert choose_slices(np.zeros((21, 8, 8), np.uint8), most=12) == (5, 10, 15)
    assert choose_slices(np.zeros((1, 8, 8), np.uint8), most=12) == (0,)


def test_the_outline_is_coloured_and_everything_else_stays_grey() -> None:
    (png,) = draw_overlays(_volume((3, 64, 64)), _labels((3, 64, 64), {1: 20}), most=5)
    picture = np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    coloured = (picture.max(axis=2) - picture.min(axis=2)) > 40
    assert 0 < coloured.mean() < 0.1
    (plain,) = draw_overlays(_volume((1, 64, 64)), _labels((1, 64, 64), {}), most=1)
    grey = np.array(Image.open(io.BytesIO(plain)).convert("RGB")).astype(int)
    assert (grey.max(axis=2) == grey.min(axis=2)).all()


def test_pixels_come_out_square_whatever_the_spacing() -> None:
    (png,) = draw_overlays(_volume((1, 50, 100), (5.0, 2.0, 1.0)), _labels((1, 50, 100), {0: 5}), most=1)
    width, height = Image.open(io.BytesIO(png)).size
    assert width == height


def test_pictures_carry_no_text() -> None:
    (png,) = draw_overlays(_volume((1, 64, 64)), _labels((1, 64, 64), {0: 5}), most=1)
    assert not Image.open(io.BytesIO(png)).info
