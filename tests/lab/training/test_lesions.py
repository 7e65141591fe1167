from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from lab.training import augmentation, lesions
from lab.training.fields import FieldBank
from lab.training.lesions import LesionKind, Painted

pytestmark = pytest.mark.slow

TISSUE = 0.4
COUNT = 12
ALL = torch.ones(COUNT, dtype=torch.bool)


@pytest.fixture(scope="module")
def bank() -> FieldBank:
    return FieldBank(np.random.default_rng(0), count=2)


@pytest.fixture(scope="module")
def heads() -> Tensor:
    rows, columns = np.mgrid[:128, :128]
    head = np.hypot((rows - 64) / 1.2, columns - 64) < 44
    return torch.from_numpy(head).expand(COUNT, 3, 128, 128)


@pytest.fixture(scope="module")
def grey(heads: Tensor) -> Tensor:
    return torch.where(heads, TISSUE, 0.0)


def painted(grey: Tensor, heads: Tensor, bank: FieldBank, seed: int, wanted: Tensor = ALL) -> Painted:
    return lesions.paint(grey, heads, wanted, bank=bank, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def ordinary(grey: Tensor, heads: Tensor, bank: FieldBank) -> Callable[[int], Painted]:
    """Return what gives the lesions of a seed as the settings have them, painted once; nobody may write to them."""
    return cache(lambda seed: painted(grey.clone(), heads, bank, seed))


def test_the_same_seed_paints_the_same_lesions(
    grey: Tensor, heads: Tensor, bank: FieldBank, ordinary: Callable[[int], Painted]
) -> None:
    first, again, other = ordinary(3), painted(grey, heads, bank, 3), ordinary(4)
    assert torch.equal(first.grey, again.grey)
    assert torch.equal(first.masks, again.masks)
    assert not torch.equal(first.grey, other.grey)


def test_lesions_lie_inside_the_head_and_their_slices_stay_in_range(
    heads: Tensor, ordinary: Callable[[int], Painted]
) -> None:
    for seed in range(6):
        result = ordinary(seed)
        assert not (result.masks.bool() & ~heads[:, 1:2]).any()
        assert float(result.grey.min()) >= 0.0
        assert float(result.grey.max()) <= 1.0
        for mask, kind in zip(result.masks, result.kinds, strict=True):
            assert bool(mask.any()) == (kind is not LesionKind.NONE)


def test_bright_lesions_are_brighter_and_dark_ones_darker_than_the_tissue(ordinary: Callable[[int], Painted]) -> None:
    seen = set()
    for seed in range(10):
        result = ordinary(seed)
        for stack, mask, kind in zip(result.grey, result.masks, result.kinds, strict=True):
            if kind is LesionKind.BRIGHT:
                assert float(stack[1][mask[0].bool()].mean()) > TISSUE
            if kind is LesionKind.DARK:
                assert float(stack[1][mask[0].bool()].mean()) < TISSUE
            seen.add(kind)
    assert seen >= {LesionKind.BRIGHT, LesionKind.DARK, LesionKind.MIXED}


def test_a_lesion_reaches_into_the_neighbouring_slices(grey: Tensor, ordinary: Callable[[int], Painted]) -> None:
    result = ordinary(5)
    changed = (result.grey - grey).abs().flatten(2).sum(dim=2) > 1.0
    large = result.masks.flatten(1).sum(dim=1) > 400
    assert large.any()
    assert changed[large][:, [0, 2]].any(dim=1).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_anatomy_shows_through_some_lesions_and_is_replaced_by_the_others(
    share: float, heads: Tensor, bank: FieldBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lesions, "THROUGH_SHARE", share)
    monkeypatch.setattr(lesions, "OPACITIES", (1.0, 1.0))
    monkeypatch.setattr(lesions, "PUSHED_SHARE", 0.0)
    stripes = torch.where(torch.arange(128) % 2 == 0, 0.9, 1.1).view(1, 1, 1, -1)
    striped = torch.where(heads, TISSUE * stripes, 0.0)
    result = painted(striped, heads, bank, 5)
    likeness = []
    for index, kind in enumerate(result.kinds):
        inside = result.masks[index, 0] > 0
        if kind is LesionKind.BRIGHT and inside.any():
            columns = stripes[0, 0].expand(128, 128)[inside]
            ratio = result.grey[index, 1][inside] / TISSUE
            likeness.append(float((ratio[columns > 1].mean() - ratio[columns < 1].mean()) / ratio.mean()))
    assert likeness
    assert (np.median(likeness) > 0.1) == (share == 1.0)


def test_only_wanted_samples_are_painted(grey: Tensor, heads: Tensor, bank: FieldBank) -> None:
    wanted = torch.arange(COUNT) % 2 == 0
    result = painted(grey, heads, bank, 8, wanted)
    assert torch.equal(result.grey[~wanted], grey[~wanted])
    assert not result.masks[~wanted].any()
    assert result.masks[wanted].any()


def test_a_slice_without_room_stays_clean(grey: Tensor, heads: Tensor, bank: FieldBank) -> None:
    result = painted(grey, torch.zeros_like(heads), bank, 1)
    assert set(result.kinds) == {LesionKind.NONE}
    assert torch.equal(result.grey, grey)


def test_tissue_is_pushed_away_from_some_lesions(heads: Tensor, bank: FieldBank) -> None:
    stripes = torch.where(heads, 0.3 + 0.1 * (torch.arange(128) // 6 % 2), 0.0)
    result = painted(stripes, heads, bank, 2)
    outside = result.masks == 0
    moved = ((result.grey[:, 1:2] - stripes[:, 1:2]).abs() > 0.05) & outside
    assert moved.any()


def test_another_scan_keeps_the_anatomy_in_place(grey: Tensor, heads: Tensor, bank: FieldBank) -> None:
    generator = torch.Generator().manual_seed(1)
    again = augmentation.rescan(grey, bank, np.random.default_rng(1), generator)
    assert float(again[heads].mean()) > float(again[~heads].mean()) + 0.1
    assert float(again.min()) >= 0.0
    assert float(again.max()) <= 1.0


def test_moving_takes_the_head_along(grey: Tensor, heads: Tensor) -> None:
    moved, (moved_heads, beside) = augmentation.move(grey, (heads, ~heads), np.random.default_rng(3))
    assert not (moved_heads & beside).any()
    assert float(moved[moved_heads].mean()) > 0.9 * TISSUE
    assert float(moved[~moved_heads].mean()) < 0.05


def test_what_is_taken_is_left_as_it_is(grey: Tensor, heads: Tensor, bank: FieldBank) -> None:
    taken = torch.zeros_like(heads)
    taken[:, :, 50:80, 64:90] = True
    covered = 0
    for seed in range(6):
        result = lesions.paint(grey, heads, ALL, bank=bank, rng=np.random.default_rng(seed), taken=taken)
        torch.testing.assert_close(result.grey[taken], grey[taken], rtol=0, atol=0)
        assert not (result.masks.bool() & taken[:, 1:2]).any()
        covered += int(result.masks.sum())
    assert covered > 0


def test_all_of_a_parted_lesion_counts_also_where_it_looks_like_the_tissue_around(
    grey: Tensor, heads: Tensor, bank: FieldBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lesions, "MIXED_SHARE", 1.0 - lesions.DARK_SHARE - lesions.FOREIGN_SHARE)
    monkeypatch.setattr(lesions, "PARTED_SHARE", 1.0)
    monkeypatch.setattr(lesions, "MILD", (1.0, 1.0))
    unseen = []
    for seed in range(6):
        result = painted(grey, heads, bank, seed)
        mixed = torch.tensor([kind is LesionKind.MIXED for kind in result.kinds])
        marked = result.masks[mixed, 0].bool()
        unseen.append(
            ((result.grey[mixed, 1] - grey[mixed, 1]).abs() < lesions.VISIBLE * TISSUE)[marked].float().mean()
        )
    assert 0.15 < float(torch.stack(unseen).mean()) < 0.85


def shown_anatomy(heads: Tensor, bank: FieldBank) -> float:
    """Tell how much of a striped anatomy can be seen inside large painted lesions: 1 all of it, 0 none."""
    stripes = torch.where(torch.arange(128) % 8 < 4, 1.0, -1.0)
    grey = torch.where(heads, TISSUE * (1 + 0.15 * stripes), 0.0)
    shown = []
    for seed in range(6):
        result = painted(grey, heads, bank, seed)
        for stack, mask in zip(result.grey, result.masks, strict=True):
            inside = mask[0].bool()
            if inside.sum() > 900:
                light, dark = (stack[1][inside & (stripes == side)].mean() for side in (1, -1))
                shown.append(float(light - dark) / (0.3 * TISSUE))
    return float(np.mean(shown))


def test_a_mass_takes_the_place_of_the_anatomy(heads: Tensor, bank: FieldBank, monkeypatch: pytest.MonkeyPatch) -> None:
    for share, value in (("DARK_SHARE", 0.0), ("FOREIGN_SHARE", 0.0), ("MIXED_SHARE", 1.0), ("PARTED_SHARE", 1.0)):
        monkeypatch.setattr(lesions, share, value)
    monkeypatch.setattr(lesions, "PUSHED_SHARE", 0.0)
    shown = []
    for share_of_masses in (0.0, 1.0):
        monkeypatch.setattr(lesions, "MASS_SHARE", share_of_masses)
        shown.append(shown_anatomy(heads, bank))
    assert shown[1] < 0.6 * shown[0]
