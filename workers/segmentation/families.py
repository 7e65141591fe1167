"""Families of images that one network each segments: a modality, the regions it knows, and how it is shown them.

A family is a row of ``FAMILIES``. What its tumours look like is known to its painter alone (``lab.training.families``).
Which family a volume belongs to is its modality's and its region's business, never its pixels'.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from storage.errors import ConfigurationError
from storage.routes.regions import Region


class Grey(StrEnum):
    """How stored values become grey from 0 (black) to 1 (white)."""

    HOUNSFIELD = "hounsfield"
    """Between the two values of a window."""
    UPTAKE = "uptake"
    """By the logarithm of the standardised uptake value."""
    TISSUE = "tissue"
    """Black at the 0.5th percentile, white at a multiple of the body's median."""
    PICTURE = "picture"
    """Between the 0.5th and the 99.5th percentile."""


class Frame(StrEnum):
    """Which part of a slice the network is shown, and how large."""

    MILLIMETRES = "millimetres"
    """All of it, at a fixed size of the pixel."""
    PICTURE = "picture"
    """All of it, at a fixed number of pixels along the longer side: its spacing is not known, or says nothing."""
    HEAD = "head"
    """The box of the head, as ``grid.find_crop`` finds it."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family: whose images it takes, how they are framed and scaled, and how many slices its network sees.

    ``regions`` empty takes every region that no other family of the modality takes. ``side`` is the patch, in pixels,
    that is trained on, and for ``Frame.PICTURE`` and ``Frame.HEAD`` the side of the frame. ``window`` holds HU for
    ``Grey.HOUNSFIELD``, SUV (half-way of the logarithm, white) for ``Grey.UPTAKE``, and is (0, multiple) for
    ``Grey.TISSUE``. Neighbouring slices are ``step_mm`` away, or as near to that as the stack has them.
    ``body_above`` is the grey above which a pixel may belong to the body. A ``prompted`` family's network is told in
    words what to look for; the others mark whatever tumour they know.
    """

    name: str
    modalities: frozenset[str]
    regions: frozenset[Region]
    frame: Frame
    side: int
    grey: Grey
    window: tuple[float, float]
    pixel_mm: float = 1.0
    slices: int = 3
    step_mm: float = 4.0
    body_above: float = 0.1
    prompted: bool = False

    def takes(self, modality: str, regions: Collection[Region] = frozenset()) -> bool:
        """Say whether images of a modality that show ``regions`` (none: unknown) belong to the family."""
        known = not self.regions or not regions or not self.regions.isdisjoint(regions)
        return modality in self.modalities and known


HEAD_MR = Family(
    "head-mr", frozenset({"MR"}), frozenset({Region.HEAD, Region.NECK}),
    Frame.HEAD, 128, Grey.TISSUE, (0.0, 2.5), slices=1, prompted=True,
)  # fmt: skip # reads by its lines
LIMB_MR = Family(
    "limb-mr", frozenset({"MR"}), frozenset({Region.UPPER_LIMB, Region.LOWER_LIMB, Region.PELVIS}),
    Frame.MILLIMETRES, 96, Grey.PICTURE, (0.0, 1.0), pixel_mm=2.0,
)  # fmt: skip # reads by its lines
LUNG_CT = Family(
    "lung-ct", frozenset({"CT"}), frozenset({Region.CHEST}),
    Frame.MILLIMETRES, 96, Grey.PICTURE, (0.0, 1.0), pixel_mm=1.0, slices=1, body_above=-1.0,
)  # fmt: skip # reads by its lines
BODY_CT = Family(
    "body-ct", frozenset({"CT"}), frozenset(),
    Frame.MILLIMETRES, 96, Grey.HOUNSFIELD, (-160.0, 240.0), pixel_mm=2.0,
)  # fmt: skip # reads by its lines
PET = Family(
    "pet", frozenset({"PT"}), frozenset(),
    Frame.MILLIMETRES, 64, Grey.UPTAKE, (0.5, 40.0), pixel_mm=4.0, body_above=0.07,
)  # fmt: skip # reads by its lines
BREAST_US = Family(
    "breast-us", frozenset({"US"}), frozenset({Region.BREAST}),
    Frame.PICTURE, 128, Grey.PICTURE, (0.0, 1.0), slices=1, body_above=-1.0,
)  # fmt: skip # reads by its lines
FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (HEAD_MR, LIMB_MR, LUNG_CT, BODY_CT, PET, BREAST_US)
}


def family_named(name: str) -> Family:
    """Return the family of a name; ConfigurationError that lists them where there is none such."""
    try:
        return FAMILIES[name]
    except KeyError:
        raise ConfigurationError(f"there is no family {name!r}: choose one of {', '.join(FAMILIES)}") from None


def family_of(modality: str, regions: Collection[Region] = frozenset()) -> Family | None:
    """Return the family that images of a modality and of known ``regions`` belong to, or None.

    A family that names one of the regions goes before one that takes any; where the region is unknown, the only family
    of the modality, or the one that takes any, is taken.
    """
    fitting = [family for family in FAMILIES.values() if family.takes(modality, regions)]
    if regions:
        named = [family for family in fitting if family.regions]
        return next(iter(named or fitting), None)
    return next((family for family in fitting if len(fitting) == 1 or not family.regions), None)
