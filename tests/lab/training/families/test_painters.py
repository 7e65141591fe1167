"""Painters: the same for the same seed, inside the body, and something to be seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.training.families import sonography, uptake_phantoms
from lab.training.families.painters import RECIPES
from lab.training.families.sampler import FamilySampler
from lab.training.slices import Mark, SliceSet, from_framed
from workers.segmentation.families import BREAST_US, PET, Family

FAMILIES = pytest.mark.parametrize("family", RECIPES, ids=lambda family: family.name)
BATCH = 8


def slices(family: Family) -> SliceSet:
    """Return slices of a body of even tissue, with lung (dark) in its middle where the family looks for that."""
    side = family.side
    y, x = np.mgrid[:side, :side] - side / 2
    body = (y / (0.42 * side)) ** 2 + (x / (0.36 * side)) ** 2 < 1
    grey = np.where(body, 0.5, 0.0)
    if family.name == "lung-ct":
        grey = np.where((y / (0.3 * side)) ** 2 + (x / (0.26 * side)) ** 2 < 1, 0.1, grey)
    noise = np.random.default_rng(0).normal(0, 0.01, (5, side, side))
    images = np.clip(grey[None] + noise * body, 0, 1).astype(np.float32) * 2 - 1
    return from_framed(images, np.broadcast_to(body, images.shape).copy(), "made up")


@FAMILIES
def test_a_step_s_batch_is_always_the_same_and_another_step_s_is_not(family: Family) -> None:
    first, again = (FamilySampler(family, RECIPES[family], slices(family), 3).draw(5, BATCH) for _ in range(2))
    other = FamilySampler(family, RECIPES[family], slices(family), 3).draw(6, BATCH)
    assert torch.equal(first.stacks, again.stacks)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.stacks, other.stacks)


@FAMILIES
def test_batches_have_the_family_s_shape_and_most_show_a_lesion(family: Family) -> None:
    batch = FamilySampler(family, RECIPES[family], slices(family), 3).draw(5, 24)
    assert batch.stacks.shape == (24, family.slices, family.side, family.side)
    assert batch.stacks.min() >= -1
    assert batch.stacks.max() <= 1
    shown = batch.masks.flatten(1).any(dim=1).float().mean()
    assert 0.4 < shown < 1.0


@pytest.mark.parametrize(
    "family", [family for family in RECIPES if family is not BREAST_US], ids=lambda family: family.name
)
def test_lesions_lie_in_the_body(family: Family) -> None:
    # A cyst on ultrasound is as black as what is outside, so that this cannot be told there.
    batch = FamilySampler(family, RECIPES[family], slices(family), 3).draw(5, 24)
    outside = (batch.images < -0.97) & (batch.masks > 0)
    assert outside.sum() <= 0.03 * batch.masks.sum()


@FAMILIES
def test_slices_that_are_not_to_be_painted_stay_clean(family: Family) -> None:
    batch = FamilySampler(family, RECIPES[family], slices(family), 3).draw(5, BATCH, painted=0.0)
    assert not batch.masks.any()
    assert batch.settled.all()


@FAMILIES
def test_what_an_earlier_round_found_is_lesion_and_what_it_doubts_is_left_out(family: Family) -> None:
    material = slices(family)
    side = family.side
    middle = slice(side // 2 - 4, side // 2 + 4)
    material.marks[:, middle, middle] = Mark.FOUND
    material.marks[:, middle, side // 2 + 4 : side // 2 + 9] = Mark.UNSURE

    batch = FamilySampler(family, RECIPES[family], material, 3).draw(5, 24, painted=0.0)

    assert batch.masks.flatten(1).any(dim=1).float().mean() > 0.8
    assert (batch.settled == 0).any()
    assert not (batch.masks * (1 - batch.settled)).any()


@pytest.mark.parametrize(("draw", "family"), [(uptake_phantoms.draw, PET), (sonography.draw, BREAST_US)])
def test_phantoms_are_fixed_by_their_seed(draw: object, family: Family) -> None:
    assert callable(draw)
    first, again, other = (draw(seed, family.side) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape[1:] == (family.side, family.side)
    assert first.min() >= -1
    assert first.max() <= 1
    assert first.std() > 0.1
