"""The kinds of pictures that the guard has seen, and for which regions each of them may pass."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from storage.routes.regions import Region


class PictureKind(StrEnum):
    """A body region under one kind of imaging, as far as there was data to learn it from; the value is its name."""

    HEAD_MR = "head MR"
    CHEST_XRAY = "chest X-ray"
    CHEST_CT = "chest CT"
    BREAST_ULTRASOUND = "breast ultrasound"
    LIMB_MR = "limb MR"
    LIMB_CT = "limb CT"
    LIMB_PET = "limb PET"

    @property
    def region(self) -> Region:
        """The region that the kind stands for; limbs are mostly thighs, so the lower one."""
        return _REGIONS[self]

    @property
    def modalities(self) -> frozenset[str]:
        """Values of Modality (0008,0060) under which such a picture arrives."""
        return _MODALITIES[self]


_REGIONS: Mapping[PictureKind, Region] = {
    PictureKind.HEAD_MR: Region.HEAD,
    PictureKind.CHEST_XRAY: Region.CHEST,
    PictureKind.CHEST_CT: Region.CHEST,
    PictureKind.BREAST_ULTRASOUND: Region.BREAST,
    PictureKind.LIMB_MR: Region.LOWER_LIMB,
    PictureKind.LIMB_CT: Region.LOWER_LIMB,
    PictureKind.LIMB_PET: Region.LOWER_LIMB,
}

_XRAY = frozenset({"CR", "DX", "RG", "XA", "RF"})
_MODALITIES: Mapping[PictureKind, frozenset[str]] = {
    PictureKind.HEAD_MR: frozenset({"MR"}),
    PictureKind.CHEST_XRAY: _XRAY,
    PictureKind.CHEST_CT: frozenset({"CT"}),
    PictureKind.BREAST_ULTRASOUND: frozenset({"US"}),
    PictureKind.LIMB_MR: frozenset({"MR"}),
    PictureKind.LIMB_CT: frozenset({"CT"}),
    PictureKind.LIMB_PET: frozenset({"PT"}),
}

ALIKE: Mapping[Region, frozenset[Region]] = {
    Region.HEAD: frozenset({Region.HEAD, Region.NECK, Region.WHOLE_BODY}),
    Region.CHEST: frozenset(
        {Region.CHEST, Region.NECK, Region.ABDOMEN, Region.SPINE, Region.BREAST, Region.UPPER_LIMB, Region.WHOLE_BODY}
    ),
    Region.BREAST: frozenset({Region.BREAST, Region.CHEST}),
    Region.LOWER_LIMB: frozenset(
        {Region.LOWER_LIMB, Region.UPPER_LIMB, Region.PELVIS, Region.ABDOMEN, Region.SPINE, Region.WHOLE_BODY}
    ),
}
"""Regions that share pictures with a learned one, or that nothing learned tells from it: never a mismatch."""
