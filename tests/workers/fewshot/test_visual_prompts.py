"""Visual prompts change the picture where the mask says so, and the same way every time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.support.encoders import disc, picture
from workers.errors import MaskMissing, UnreadablePicture
from workers.fewshot import visual_prompts
from workers.fewshot.contracts import (
    MASKLESS,
    BackboneCard,
    Embeddings,
    Picture,
    Preprocessing,
    PromptMode,
    embedding_key,
)
from workers.fewshot.visual_prompts import MaskedPicture, crop, draw, embed_prompted, middle

CARD = BackboneCard("means", "test", "0", "means:0", "MIT", True, 3, 3, False, Preprocessing(8, (0,) * 3, (1,) * 3))


class Means:
    """Sees the mean colour of a picture, and of each quarter of it."""

    card = CARD

    def embed(self, pictures: Sequence[Picture]) -> Embeddings:
        pooled = np.stack([one.mean(axis=(0, 1)) for one in pictures]).astype(np.float32)
        quarters = [
            part.mean(axis=(0, 1))
            for one in pictures
            for half in np.array_split(one, 2, axis=0)
            for part in np.array_split(half, 2, axis=1)
        ]
        return Embeddings(pooled, np.array(quarters, dtype=np.float32).reshape(len(pictures), 2, 2, 3))


class LeftHalf(Means):
    """Sees the left half of a picture alone."""

    def embed(self, pictures: Sequence[Picture]) -> Embeddings:
        return super().embed([one[:, : one.shape[1] // 2] for one in pictures])


@pytest.mark.parametrize("mode", PromptMode)
def test_every_mode_gives_the_same_vector_twice(mode: PromptMode) -> None:
    subject = MaskedPicture(picture(), disc())
    first, second = (embed_prompted(Means(), [subject], mode) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("mode", [mode for mode in PromptMode if mode not in MASKLESS])
def test_every_mode_for_masks_follows_the_mask(mode: PromptMode) -> None:
    here, there = (MaskedPicture(picture(), disc(centre=centre)) for centre in ((12, 10), (36, 30)))
    vectors = embed_prompted(Means(), [here, there], mode)
    assert not np.allclose(vectors[0], vectors[1])


@pytest.mark.parametrize("mode", [mode for mode in PromptMode if mode not in MASKLESS])
def test_a_mode_that_needs_a_mask_names_the_picture_without_one(mode: PromptMode) -> None:
    with pytest.raises(MaskMissing, match="scan-7"):
        embed_prompted(Means(), [MaskedPicture(picture(), None, name="scan-7")], mode)
    with pytest.raises(MaskMissing, match="scan-7"):
        embed_prompted(Means(), [MaskedPicture(picture(), np.zeros((48, 40), dtype=bool), name="scan-7")], mode)


def test_three_looks_are_the_whole_the_mirror_image_and_the_middle_side_by_side() -> None:
    seen = picture(shape=(50, 80))
    turned = np.ascontiguousarray(seen[:, ::-1])
    apart = embed_prompted(
        LeftHalf(), [MaskedPicture(one) for one in (seen, turned, seen[10:40, 16:64])], PromptMode.NONE
    )
    expected = np.concatenate([vector / np.linalg.norm(vector) for vector in apart])
    (vector,) = embed_prompted(LeftHalf(), [MaskedPicture(seen)], PromptMode.THREE_LOOKS)
    np.testing.assert_allclose(vector, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (50, 81)])
def test_a_picture_of_any_size_has_a_middle(shape: tuple[int, int]) -> None:
    cut = middle(picture(shape=shape))
    assert 0 < cut.shape[0] <= shape[0]
    assert 0 < cut.shape[1] <= shape[1]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(UnreadablePicture, match="sizes differ"):
        draw(MaskedPicture(picture(), np.ones((20, 20), dtype=bool)), PromptMode.CROP)


def test_dim_and_blur_leave_the_inside_as_it_was() -> None:
    seen, mask = picture(), disc()
    for drawn in (visual_prompts.dim(seen, mask), visual_prompts.blur(seen, mask)):
        np.testing.assert_array_equal(drawn[mask], seen[mask])
    assert visual_prompts.dim(seen, mask)[:8].mean() == pytest.approx(0.1 * seen[:8].mean(), rel=0.05)


def test_a_contour_is_red_on_the_edge_and_nowhere_else() -> None:
    seen, mask = picture(), disc(radius=9)
    drawn = visual_prompts.contour(seen, mask)
    changed = (drawn != seen).any(axis=2)
    assert tuple(drawn[changed][0]) == (255, 0, 0)
    assert not changed[30, 14]
    assert not changed[:10].any()


def test_an_overlay_paints_small_segments_on_top_of_large_ones() -> None:
    grey = np.full((48, 40, 3), 100, dtype=np.uint8)
    large, small = disc(radius=12), disc(radius=4)
    drawn = visual_prompts.overlay(grey, [large, small])
    np.testing.assert_array_equal(drawn[30, 14], np.rint(0.5 * 100 + 0.5 * np.array(visual_prompts.PALETTE[0])))
    np.testing.assert_array_equal(drawn[30, 23], np.rint(0.5 * 100 + 0.5 * np.array(visual_prompts.PALETTE[1])))
    np.testing.assert_array_equal(drawn[0, 0], np.rint(0.5 * 100 + 0.5 * np.array(visual_prompts.BACKGROUND)))
    np.testing.assert_array_equal(drawn, visual_prompts.overlay(grey, [small, large]))


def test_a_crop_is_square_holds_the_mask_and_stays_in_the_picture() -> None:
    seen, mask = picture(shape=(60, 90)), disc((60, 90), centre=(5, 85), radius=5)
    cut, inside = crop(seen, mask)
    assert cut.shape[0] == cut.shape[1]
    assert inside.sum() == mask.sum()
    assert cut.shape[:2] == inside.shape


def test_a_single_pixel_is_shown_with_its_surroundings() -> None:
    mask = np.zeros((100, 100), dtype=bool)
    mask[50, 50] = True
    assert crop(picture(shape=(100, 100)), mask)[0].shape == (10, 10, 3)


def test_global_and_crop_puts_both_beside_each_other() -> None:
    subject = MaskedPicture(picture(), disc())
    assert embed_prompted(Means(), [subject], PromptMode.GLOBAL_CROP).shape == (1, 6)


def test_pooling_under_the_mask_sees_only_its_cells() -> None:
    seen = np.zeros((40, 40, 3), dtype=np.uint8)
    seen[:20, :20] = 200
    mask = np.zeros((40, 40), dtype=bool)
    mask[5:15, 5:15] = True
    np.testing.assert_allclose(embed_prompted(Means(), [MaskedPicture(seen, mask)], PromptMode.MASKPOOL), 200)


def test_the_key_changes_with_the_prompt_and_the_backbone() -> None:
    keys = {embedding_key(CARD, mode) for mode in PromptMode}
    assert len(keys) == len(PromptMode)
    assert all(key.startswith("means:0:") for key in keys)
