"""Why a study was not analysed, in words for a reader of the archive: one meaning and one sentence for each code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage import notices


@dataclass(frozen=True, slots=True)
class Words:
    """What a code means, in at most 64 ASCII characters, and what it says to a reader."""

    meaning: str
    sentence: str


_TECHNICAL = Words(
    "Analysis failed for a technical reason",
    "The automatic analysis was tried and failed for a technical reason. It can be tried again.",
)
_OTHER_IMAGES = Words(
    "Images the analyser was not made for",
    "The images are not such as the analyser was made for: nothing was analysed.",
)
_UNREADABLE = Words(
    "Images cannot be read",
    "Images of the study cannot be read as they were received: nothing was analysed.",
)
_GEOMETRY = Words(
    "Series incomplete or of mixed geometry",
    "The slices of a series do not make one whole volume: nothing was analysed.",
)
_WORDS: Mapping[str, Words] = {
    notices.NOT_APPLICABLE: Words(
        "No route of analysis applies",
        "No route of automatic analysis that this site has set up applies to the study.",
    ),
    notices.SET_ASIDE: Words(
        "Study incomplete at its deadline",
        "The study was not complete when its deadline had passed, and was set aside.",
    ),
    "no_usable_series": Words("No usable series", "No series of the study can be analysed."),
    "two_patients": Words(
        "Images of several patients",
        "The study holds images of several patients: it is not analysed before that is settled.",
    ),
    "body_part_mismatch": Words(
        "Another part of the body", "The images show another part of the body than the analyser is made for."
    ),
    "suv_unknown": Words(
        "Uptake values unknown", "A PET image does not say what its standardised uptake values are computed from."
    ),
    **dict.fromkeys(
        (
            "cine_not_supported",
            "field_of_view_mismatch",
            "field_of_view_unknown",
            "geometry_outside_route",
            "oversized_instance",
            "task_unsuitable",
            "unsuitable_volume",
        ),
        _OTHER_IMAGES,
    ),
    **dict.fromkeys(
        ("pixel_data_inconsistent", "unreadable_instance", "object_corrupt", "object_missing"), _UNREADABLE
    ),
    **dict.fromkeys(("duplicate_position", "incomplete_volume", "invalid_geometry", "mixed_geometry"), _GEOMETRY),
}


def words_for(code: str) -> Words:
    """Return the words of a code; those of a technical failure for all that a reader of images can do nothing about."""
    return _WORDS.get(code, _TECHNICAL)
