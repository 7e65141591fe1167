"""Regions that nobody drew, and the masks of other pictures for the control."""

from __future__ import annotations

import numpy as np

from lab.fewshot.attention import fitted_to, shuffled, shuffled_places
from lab.fewshot.regions import body_region, salient_region
from tests.support.encoders import disc


def test_no_picture_keeps_its_own_mask_in_the_control() -> None:
    places = shuffled_places(9, seed=3)
    assert sorted(places) == list(range(9))
    assert all(place != at for at, place in enumerate(places))
    assert places == shuffled_places(9, seed=3)


def test_a_wrong_mask_is_fitted_to_its_new_picture_and_never_vanishes() -> None:
    tiny = np.zeros((400, 400), dtype=bool)
    tiny[10, 20] = True
    assert fitted_to(tiny, (16, 16)).sum() == 1
    masks = shuffled([disc(), disc((30, 30), centre=(15, 15))], [(48, 40), (30, 30)], seed=0)
    assert [mask.shape for mask in masks] == [(48, 40), (30, 30)]


def test_the_body_is_found_on_a_black_background() -> None:
    seen = np.zeros((80, 80, 3), dtype=np.uint8)
    body = disc((80, 80), centre=(40, 40), radius=25)
    seen[body] = 120
    assert (body_region(seen) == body).mean() > 0.95
    assert body_region(np.zeros((10, 10, 3), dtype=np.uint8)).all()


def test_the_salient_region_is_the_part_around_the_peak() -> None:
    saliency = np.zeros((8, 8), dtype=np.float32)
    saliency[1:3, 1:3], saliency[6, 6] = 0.9, 0.6
    region = salient_region(saliency, shape=(80, 40))
    assert region[10:30, 5:15].all()
    assert region.sum() == 20 * 10
