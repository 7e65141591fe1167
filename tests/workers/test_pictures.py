from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from storage.explanations import (
    TILES,
    Explanation,
    FindingView,
    SaliencyMap,
    ShownTile,
    Tile,
    panels_from_json,
    panels_to_json,
)
from storage.objects import ObjectStore
from storage.volumes import Geometry, Volume
from workers.pictures import draw_overlays, draw_panel, draw_saliency, keep_panels


def _volume(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (5.0, 1.0, 1.0)) -> Volume:
    voxels = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    geometry = Geometry((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), spacing)
    return Volume(voxels, geometry, "MR", "1.2", "1.3", None, ())


def _labels(shape: tuple[int, int, int], areas: dict[int, int]) -> np.ndarray:
    labels = np.zeros(shape, dtype=np.uint8)
    for z, side in areas.items():
        labels[z, 10 : 10 + side, 10 : 10 + side] = 1
    return labels


def test_the_outline_is_coloured_and_everything_else_stays_grey() -> None:
    (png,) = draw_overlays(_volume((3, 64, 64)), _labels((3, 64, 64), {1: 20}), most=5)
    picture = np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    coloured = (picture.max(axis=2) - picture.min(axis=2)) > 40
    assert 0 < coloured.mean() < 0.1
    (plain,) = draw_overlays(_volume((1, 64, 64)), _labels((1, 64, 64), {}), most=1)
    grey = np.array(Image.open(io.BytesIO(plain)).convert("RGB")).astype(int)
    assert (grey.max(axis=2) == grey.min(axis=2)).all()


def test_organs_are_outlined_in_colours_of_their_own_and_lesions_above_them() -> None:
    organs = np.zeros((3, 64, 64), np.uint8)
    organs[:, 4:60, 4:30], organs[:, 4:60, 30:60] = 2, 3
    labels = _labels((3, 64, 64), {1: 10})
    organs[labels > 0] = 0
    (png,) = draw_overlays(_volume((3, 64, 64)), labels, organs=organs, most=5)
    picture = np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    coloured = (picture.max(axis=2) - picture.min(axis=2)) > 20
    assert 0 < coloured.mean() < 0.15
    assert len(np.unique(picture[coloured], axis=0)) == 3


def test_without_a_lesion_slices_come_from_where_the_organs_lie() -> None:
    organs = np.zeros((40, 64, 64), np.uint8)
    organs[30:35, 10:40, 10:40] = 1
    pictures = draw_overlays(_volume((40, 64, 64)), np.zeros_like(organs), organs=organs, most=12)
    assert len(pictures) == 3
    for png in pictures:
        picture = np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        assert (picture.max(axis=2) != picture.min(axis=2)).any()


def test_pixels_come_out_square_whatever_the_spacing() -> None:
    (png,) = draw_overlays(_volume((1, 50, 100), (5.0, 2.0, 1.0)), _labels((1, 50, 100), {0: 5}), most=1)
    width, height = Image.open(io.BytesIO(png)).size
    assert width == height


def test_overlays_carry_no_text() -> None:
    (png,) = draw_overlays(_volume((1, 64, 64)), _labels((1, 64, 64), {0: 5}), most=1)
    assert not Image.open(io.BytesIO(png)).info


def test_a_labelled_image_is_shown_plain_and_with_its_saliency_in_colour() -> None:
    volume = _volume((3, 400, 500))
    values = np.full((1, 400, 500), 0.3, np.float32)
    values[0, 100:200, 100:200] = 1.0
    plain, heated = (
        np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        for png in draw_saliency(volume, SaliencyMap((1,), values))
    )
    assert plain.shape == heated.shape == (400, 500, 3)
    assert (plain == plain[..., :1]).all()
    assert (heated[:90] == plain[:90]).all(), "where the map is lowest the image stays as it is"
    assert (heated[120:180, 120:180, 0] > heated[120:180, 120:180, 2] + 20).all()
    assert len(draw_saliency(volume, None)) == 1


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
    image, attention, healthy, residual, mask = _tiles(draw_panel(_view()))
    assert image.shape[0] == image.shape[1]
    inside, outside = (96, 96), (200, 200)
    assert tuple(image[inside]) == tuple(image[outside]) == (128, 128, 128)
    assert tuple(healthy[outside]) == (64, 64, 64)
    assert attention[inside].sum() > attention[outside].sum()
    assert residual[inside].sum() > 500
    assert not residual[outside].any()
    assert tuple(mask[outside]) == (128, 128, 128)
    assert mask[inside][0] > mask[inside][2]


def test_a_panel_shows_no_more_than_its_view_says(objects: ObjectStore) -> None:
    tiles = (ShownTile(Tile.IMAGE, decides=True), ShownTile(Tile.SCORE, decides=True), ShownTile(Tile.MASK))
    view = replace(_view(), healthy=None, residual=None, tiles=tiles)
    full, short = (np.asarray(Image.open(io.BytesIO(draw_panel(one)))) for one in (_view(), view))
    assert (short.shape[1] + 4) * 5 == (full.shape[1] + 4) * 3
    kept = keep_panels(Explanation(np.zeros((2, 4, 4), np.uint8), (view,)), objects)
    assert kept is not None
    assert kept.shows_score
    assert panels_from_json(panels_to_json(kept.panels)) == kept.panels
    assert (kept.panels[0].residual_inside, kept.panels[0].residual_outside) == (None, None)


def test_a_panel_carries_nothing_but_pixels() -> None:
    assert Image.open(io.BytesIO(draw_panel(_view()))).info == {}


def test_the_same_view_gives_the_same_bytes() -> None:
    assert draw_panel(_view()) == draw_panel(_view())


def test_views_are_kept_with_their_numbers_and_the_attention_map(objects: ObjectStore) -> None:
    attention = np.zeros((2, 4, 4), np.uint8)
    kept = keep_panels(Explanation(attention, (_view(1), _view(2))), objects)
    assert kept is not None
    assert [panel.number for panel in kept.panels] == [1, 2]
    first = kept.panels[0]
    assert (first.attention_inside, first.attention_outside) == (0.9, 0.1)
    assert (first.residual_inside, first.residual_outside) == (1.0, 0.0)
    assert objects.get(first.picture).startswith(b"\x89PNG")


def test_an_analyser_without_an_explanation_leaves_none(objects: ObjectStore) -> None:
    assert keep_panels(None, objects) is None
