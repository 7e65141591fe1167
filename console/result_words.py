"""What pages, tables and forms say of a result: which measures mean anything, where it lies, why it is not sent."""

from __future__ import annotations

from collections.abc import Mapping

from storage.domain import Algorithm, Site
from storage.volumes import Extent

_MEASURES: Mapping[Extent, tuple[str, ...]] = {
    Extent.VOLUME: ("volume_ml", "longest_diameter_mm"),
    Extent.AREA: ("area_mm2", "longest_diameter_mm"),
    Extent.UNKNOWN: (),
}

_WITHHELD: Mapping[str, str] = {
    "unlike_training_data": "unlike the training data",
    "nothing_drawn": "no organ was drawn, and no lesion was looked for",
}


def measures_of(extent: Extent) -> tuple[str, ...]:
    """Return the measures of a finding that mean anything, by what is known of its image's size."""
    return _MEASURES[extent]


def named_site(site: Site | None) -> str:
    """Return in words where in the body something lies; an empty text where nobody says."""
    if site is None:
        return ""
    side = f", {site.laterality.meaning.lower()}" if site.laterality else ""
    return f"{site.concept.meaning}{side}"


def why_not_sent(withheld: str | None) -> str:
    """Return in words why a result is kept and not sent; an empty text where it is sent."""
    return f"not sent: {_WITHHELD.get(withheld, withheld)}" if withheld else ""


def named_version(algorithm: Algorithm) -> str:
    """Return name and version of an algorithm."""
    return f"{algorithm.name} {algorithm.version}"
