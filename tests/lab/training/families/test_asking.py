"""What prompted networks are asked while they learn, and that the answer counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.training.families.asking import KindPrompts
from lab.training.families.painters import RECIPES
from lab.training.families.sampler import UNWANTED_WEIGHT, FamilySampler
from lab.training.slices import SliceSet, from_framed
from workers.segmentation.families import HEAD_MR
from workers.segmentation.prompts import TextEncoder
from workers.segmentation.unet import UNet


@pytest.fixture(scope="module")
def prompts() -> KindPrompts:
    return KindPrompts.build(TextEncoder.load())


@pytest.fixture(scope="module")
def heads() -> SliceSet:
    y, x = np.mgrid[:128, :128] - 64
    body = (y / 54) ** 2 + (x / 46) ** 2 < 1
    images = np.where(body, 0.0, -1.0).astype(np.float32)[None]
    return from_framed(images, body[None], "made up")


def test_a_painted_tumour_that_was_not_asked_for_counts_as_none_and_weighs_more(
    heads: SliceSet, prompts: KindPrompts
) -> None:
    batch = FamilySampler(HEAD_MR, RECIPES[HEAD_MR], heads, 3, prompts=prompts).draw(5, 64)
    assert batch.settled is not None
    refused = batch.settled.flatten(1).amax(dim=1) > UNWANTED_WEIGHT / 2
    assert 4 < refused.sum() < 32
    assert not batch.masks[refused].any()
    assert batch.masks[~refused].flatten(1).any(dim=1).sum() > 16


def test_a_prompt_changes_what_a_network_answers_once_it_has_learned_to_listen(prompts: KindPrompts) -> None:
    network = UNet(1, prompted=True).eval()
    image, asked = torch.zeros(1, 1, 32, 32), prompts.general[:1]
    assert torch.equal(network(image, asked), network(image))
    assert network.context is not None
    torch.nn.init.ones_(network.context.weight)
    assert not torch.equal(network(image, asked), network(image))
