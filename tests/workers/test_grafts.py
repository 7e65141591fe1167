from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.training import grafts, lesions, slices
from workers.training.fields import FieldBank
from workers.training.lesions import Finding
from workers.training.samples import Sampler
from workers.training.slices import Mark, SliceSet

TISSUE, LESION = 0.4, 0.7
COUNT = 40
ROWS, COLUMNS = np.mgrid[:128, :128]


@pytest.fixture(scope="module")
def heads() -> Tensor:
    return torch.from_numpy(np.hypot(ROWS - 64, COLUMNS - 64) < 50).expand(COUNT, 3, 128, 128)


@pytest.fixture(scope="module")
def found() -> Tensor:
    return torch.from_numpy(np.hypot(ROWS - 50, COLUMNS - 45) < 12).expand(COUNT, 3, 128, 128)


@pytest.fixture(scope="module")
def stacks(heads: Tensor, found: Tensor) -> Tensor:
    """Heads with a mottled bright lesion where something was found."""
    noise = torch.randn((COUNT, 3, 128, 128), generator=torch.Generator().manual_seed(0))
    return torch.where(found, LESION + 0.04 * noise, torch.where(heads, TISSUE, 0.0))


def test_what_was_found_is_made_fainter_in_some_and_nothing_else_changes(stacks: Tensor, found: Tensor) -> None:
    bank, rng = FieldBank(np.random.default_rng(0), count=2), np.random.default_rng(1)
    tissue = torch.full((COUNT, 1, 1, 1), TISSUE)
    faded = grafts.fade(stacks, found, tissue, bank=bank, rng=rng)
    core = torch.from_numpy(np.hypot(ROWS - 50, COLUMNS - 45) < 8).expand_as(found)
    levels = torch.stack([stack[mask].mean() for stack, mask in zip(faded, core, strict=True)])
    unchanged = (levels - LESION).abs() < 0.02
    assert 0.3 < float(unchanged.float().mean()) < 0.9
    assert float(levels.min()) < TISSUE + 0.3 * (LESION - TISSUE)
    assert float(levels.min()) > TISSUE - 0.05
    afar = torch.from_numpy(np.hypot(ROWS - 50, COLUMNS - 45) > 20).expand_as(found)
    assert torch.equal(faded[afar], stacks[afar])
    faintest = int(levels.argmin())
    assert float(faded[faintest][core[faintest]].std()) > 0.03


def test_a_found_lesion_is_moved_into_another_head_and_marked_there(
    stacks: Tensor, heads: Tensor, found: Tensor
) -> None:
    healthy = torch.where(heads, 0.3, 0.0)
    canvas = lesions.prepare(healthy, heads, erosion=4)
    grey, masks = grafts.graft(
        canvas, stacks, found, torch.full((COUNT, 1, 1, 1), TISSUE), rng=np.random.default_rng(2)
    )
    assert masks.shape == (COUNT, 1, 128, 128)
    assert not (masks.bool() & ~heads[:, 1:2]).any()
    assert masks.flatten(1).any(dim=1).all()
    inside = torch.stack([image[mask.bool()].mean() for image, mask in zip(grey[:, 1:2], masks, strict=True)])
    assert float(inside.min()) > 0.3
    assert float(inside.max()) < 0.3 * LESION / TISSUE * 1.1
    centres = torch.stack([torch.nonzero(mask[0]).float().mean(dim=0) for mask in masks])
    assert float(centres.std(dim=0).min()) > 10.0


def test_where_nothing_was_found_nothing_is_moved(stacks: Tensor, heads: Tensor, found: Tensor) -> None:
    canvas = lesions.prepare(torch.where(heads, 0.3, 0.0), heads, erosion=4)
    tissue = torch.full((COUNT, 1, 1, 1), TISSUE)
    grey, masks = grafts.graft(canvas, stacks, torch.zeros_like(found), tissue, rng=np.random.default_rng(2))
    assert not masks.any()
    assert torch.equal(grey, canvas.grey)


def marked(*, found: bool) -> SliceSet:
    """Make a head with a bright lesion at one side, marked or not, and a healthy one."""
    head = np.where(np.hypot(ROWS - 64, COLUMNS - 64) < 50, 100.0, 0.0).astype(np.float32)
    lesion = np.hypot(ROWS - 64, COLUMNS - 40) < 9
    ill = slices.from_stack(np.repeat(np.where(lesion, 170.0, head)[None], 5, axis=0).astype(np.float32), "somebody")
    marks = ill.marks.copy()
    if found:
        marks[:, ill.images[2] > ill.images[2, 64, 64] + 0.1] = Mark.FOUND
    healthy = slices.from_stack(np.repeat(head[None], 20, axis=0), "somebody else")
    return replace(ill, marks=marks).joined(healthy)


def test_lesions_are_moved_only_where_an_earlier_round_found_some_and_by_the_seed_alone() -> None:
    first, again = (Sampler(marked(found=True), 3).draw(7, 12) for _ in range(2))
    assert torch.equal(first.stacks, again.stacks)
    assert torch.equal(first.masks, again.masks)
    with_finds, without = (
        [finding for step in range(8) for finding in Sampler(marked(found=found), 3).draw(step, 12).findings]
        for found in (True, False)
    )
    assert Finding.FOUND in with_finds
    assert Finding.FOUND not in without
    assert with_finds.count(Finding.MIXED) > without.count(Finding.MIXED)
