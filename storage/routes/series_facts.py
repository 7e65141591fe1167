"""What is known of a received series without its pixels: everything that a route may look at."""

from __future__ import annotations

import re
from dataclasses import dataclass

from storage.routes import regions
from storage.routes.regions import Region, Side

_AGENT = r"(?:iv\s+)?(?:contrast\w*|kontrast\w*|gad\w*|gd|km|ci|ce)\b"
_WITH_CONTRAST = (
    rf"\b(?:with|w|post|after|avec|mit|nach|con|com|dopo|met|med)\s+{_AGENT}"
    r"|\bpost\b(?! ?(?:op|proc))|\bt1w?c\b|\+ ?(?:c|gd|km)\b|\bgado|\b(?:km|gd|ce)\b"
)
_WITHOUT_CONTRAST = re.compile(
    rf"\b(?:without|w o|wo|no|non|pre|before|ohne|vor|kein|sans|avant|sin|sem|senza|zonder|bez|utan)\s+{_AGENT}"
)
"""How people write that a contrast agent was given, or was not, in plain text (``regions.plain``)."""


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """One series as it arrived. Texts are as received and may name a patient: they stay in the database.

    ``frames`` counts image planes: instances, or the frames of multi-frame ones. ``anatomic_codes`` are the code values
    of AnatomicRegionSequence. None stands for what the series does not say.
    """

    series_instance_uid: str
    modality: str
    sop_class_uids: frozenset[str] = frozenset()
    anatomic_codes: tuple[str, ...] = ()
    body_part_examined: str = ""
    series_description: str = ""
    protocol_name: str = ""
    study_description: str = ""
    laterality: str = ""
    calling_aets: frozenset[str] = frozenset()
    station_name: str = ""
    frames: int = 0
    slice_thickness_mm: float | None = None
    contrast: bool = False
    image_types: frozenset[str] = frozenset()
    study_speaks: bool = True
    """Whether the study description is taken to speak of this series too, whatever that says itself."""
    patient_id: str = ""
    """Only to see that a study is one patient's; no route looks at it."""

    @property
    def description(self) -> str:
        """What people called the series: its description and its protocol."""
        return f"{self.series_description} {self.protocol_name}".strip()

    @property
    def contrast_given(self) -> bool:
        """Whether the header names a contrast agent, or the descriptions say that one was given."""
        return self.contrast or regions.matches(
            _WITH_CONTRAST, _WITHOUT_CONTRAST.sub("", regions.plain(self.description))
        )

    @property
    def stated_regions(self) -> frozenset[Region]:
        """The regions that codes or BodyPartExamined state."""
        return regions.of_codes(self.anatomic_codes) or regions.of_term(self.body_part_examined)

    @property
    def described_regions(self) -> frozenset[Region]:
        """The regions that the series' descriptions name, or else the study's."""
        return regions.of_words(self.description) or regions.of_words(self.study_description)

    @property
    def all_regions(self) -> frozenset[Region]:
        """Everything that is said of the series' body region, contradictions included.

        What the study description names counts for a series that says nothing itself, and for one that says something
        else as long as no other series is what the description speaks of (``study_speaks``).
        """
        own = self.own_regions
        return own | self.study_regions if self.study_speaks or not own else own

    @property
    def own_regions(self) -> frozenset[Region]:
        """The regions that the series itself names, in codes, in BodyPartExamined or in its descriptions."""
        return self.stated_regions | regions.of_words(self.description)

    @property
    def study_regions(self) -> frozenset[Region]:
        """The regions that the description of the whole study names."""
        return regions.of_words(self.study_description)

    @property
    def contradicts_itself(self) -> bool:
        """Whether what is stated and what is described have no region in common, and both say something."""
        stated, described = self.stated_regions, self.described_regions
        return (
            bool(stated) and bool(described) and Region.WHOLE_BODY not in stated | described and not stated & described
        )

    @property
    def sides(self) -> frozenset[Side]:
        """The side that Laterality states, or else those that the descriptions name."""
        stated = self.laterality.strip().upper()
        if stated in tuple(Side):
            return frozenset({Side(stated)})
        return regions.sides_of_words(self.description) or regions.sides_of_words(self.study_description)
