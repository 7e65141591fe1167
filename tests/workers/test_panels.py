from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.explanations import TILES, Explanation, FindingView
from storage.objects import ObjectStore
from workers import panels


def _view(number: int = 1) -> FindingView:
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:16, 8:16] = True
    attention = np.where(mask, 0.9, 0.1).astype(np.float32)
    image = np.full((32, 32), 0.5, np.float32)
    return FindingView(number, 4, image, attention, image * 0.5, mask.astype(np.float32), mask)


def _tiles(picture: bytes) -> list[NDArray[np.uint8]]:
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    width = (pixels.shape[1] + 4) // len(TILES)
    return [pixels[:, place * width :][:, : pixels.shape[0]] for place in range(len(TILES))]


def test_a_panel_shows_five_square_tiles_side_by_side() -> None:
    image, attention, healthy, residual, mask = _tiles(panels.draw(_view()))
    assert image.shape[0] == image.shape[1]
    inside, outside = (96, 96), (200, 200)
    assert tuple(image[inside]) == tuple(image[outside]) == (128, 128, 128)
    assert tuple(healthy[outside]) == (64, 64, 64)
    assert attention[inside].sum() > attention[outside].sum()
    assert residual[inside].sum() > 500
    assert not residual[outside].any()
    assert tuple(mask[outside]) == (128, 128, 128)
    assert mask[inside][0] > mask[inside][2]


def test_a_picture_carries_nothing_but_pixels() -> None:
    assert Image.open(io.BytesIO(panels.draw(_view()))).info == {}


def test_the_same_view_gives_the_same_bytes() -> None:
    assert panels.draw(_view()) == panels.draw(_view())


def test_views_are_kept_with_their_numbers_and_the_attention_map(objects: ObjectStore) -> None:
    attention = np.zeros((2, 4, 4), np.uint8)
    kept = panels.keep(Explanation(attention, (_view(1), _view(2))), objects)
    assert kept is not None
    assert [panel.number for panel in kept.panels] == [1, 2]
    first = kept.panels[0]
    assert (first.attention_inside, first.attention_outside) == (0.9, 0.1)
    assert (first.residual_inside, first.residual_outside) == (1.0, 0.0)
    assert objects.get(first.picture).startswith(b"\x89PNG")


def test_an_analyser_without_an_explanation_leaves_none(objects: ObjectStore) -> None:
    assert panels.keep(None, objects) is None
