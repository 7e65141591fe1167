"""Which family images belong to."""

from __future__ import annotations

import pytest

from storage.errors import ConfigurationError
from storage.routes.regions import Region
from workers.segmentation.families import FAMILIES, family_named, family_of
from workers.segmentation.unet import MULTIPLE


@pytest.mark.parametrize(
    ("modality", "regions", "expected"),
    [
        ("MR", {Region.HEAD}, "head-mr"),
        ("MR", {Region.LOWER_LIMB}, "limb-mr"),
        ("CT", {Region.CHEST}, "lung-ct"),
        ("CT", {Region.ABDOMEN}, "body-ct"),
        ("CT", set(), "body-ct"),
        ("PT", set(), "pet"),
        ("PT", {Region.WHOLE_BODY}, "pet"),
        ("US", {Region.BREAST}, "breast-us"),
    ],
)
def test_modality_and_region_tell_the_family(modality: str, regions: set[Region], expected: str) -> None:
    found = family_of(modality, regions)
    assert found is not None
    assert found.name == expected


@pytest.mark.parametrize(
    ("modality", "regions"), [("MR", set()), ("MR", {Region.BREAST}), ("US", {Region.ABDOMEN}), ("DX", {Region.CHEST})]
)
def test_what_no_family_is_known_for_has_none(modality: str, regions: set[Region]) -> None:
    assert family_of(modality, regions) is None


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'knee': choose one of head-mr, limb-mr"):
        family_named("knee")


def test_patches_fit_the_network() -> None:
    assert all(family.side % MULTIPLE == 0 for family in FAMILIES.values())
