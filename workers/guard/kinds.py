"""The kinds of pictures that the guard has seen, and for which regions each of them may pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    NO_BODY = "no body"
    """Noise, test patterns, blocks of one value: learned so that they pass for nothing else."""

    @property
    def region(self) -> Region | None:
        """The region that the kind stands for (limbs are mostly thighs: the lower one); None where there is no body."""
        return _REGIONS.get(self)

    @property
    def modalities(self) -> frozenset[str]:
        """Values of Modality (0008,0060) under which such a picture arrives."""
        return _MODALITIES.get(self, frozenset())


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
    Region.HEAD: frozenset({Region.HEAD, Region.NECK, Region.SPINE, Region.WHOLE_BODY}),
    Region.CHEST: frozenset(
        {Region.CHEST, Region.NECK, Region.ABDOMEN, Region.SPINE, Region.BREAST, Region.UPPER_LIMB, Region.WHOLE_BODY}
    ),
    Region.BREAST: frozenset({Region.BREAST, Region.CHEST}),
    Region.LOWER_LIMB: frozenset(
        {Region.LOWER_LIMB, Region.UPPER_LIMB, Region.PELVIS, Region.ABDOMEN, Region.SPINE, Region.WHOLE_BODY}
    ),
}
"""Regions that share pictures with a learned one, or that nothing learned tells from it: never a mismatch."""

_AMONG_STRANGERS: Mapping[PictureKind, float] = {
    PictureKind.HEAD_MR: 0.75,
    PictureKind.LIMB_MR: 0.65,
    PictureKind.CHEST_CT: 0.7,
    PictureKind.LIMB_CT: 0.75,
}
_ELSE_AMONG_STRANGERS = 0.8


def largest_distance(kind: PictureKind, wanted: Collection[Region]) -> float:
    """Return how far from its kind a picture may lie, 1 being the edge of what was learned, to contradict a route.

    Where no wanted region was learned under the kind's modality, a picture of it may look like this kind for want of
    anything better, so it must lie closer: in lab/notebook/0022 under one in a hundred strangers does.
    """
    rivals = (one for one in PictureKind if one.region in wanted and one.modalities & kind.modalities)
    return 1.0 if any(rivals) else _AMONG_STRANGERS.get(kind, _ELSE_AMONG_STRANGERS)
