"""The segments of a segmentation: what each stands for, where in the body it lies, and what drew it."""

from __future__ import annotations

import colorsys

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from dicom_gateway.errors import ObjectInvalid
from dicom_gateway.objects.anatomy import place_of
from dicom_gateway.objects.codes import (
    ANATOMICAL_STRUCTURE,
    ARTIFICIAL_INTELLIGENCE,
    MORPHOLOGICALLY_ABNORMAL,
    dicom_code,
)
from dicom_gateway.objects.plain_text import plain
from storage.domain import Algorithm, Analysis, Finding, Presence, Structure

_PARAMETER_CHARACTERS = 10_000  # AlgorithmParameters is LT: 10 240 characters
# Okabe and Ito's palette, which stays distinct in colour-blind eyes; lesions beyond it start over.
_LESION_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_GOLDEN_SECTION = 0.6180339887498949
_ORGAN_SHADES = ((0.45, 0.75), (0.3, 0.9), (0.55, 0.55))
"""Saturation and brightness of organs' colours, paler than those of lesions."""


def lesions(analysis: Analysis) -> tuple[Finding, ...]:
    """Return the findings that are present, by segment number; ObjectInvalid unless they count 1, 2, 3, ..."""
    present = sorted(
        (finding for finding in analysis.findings if finding.presence is Presence.PRESENT),
        key=lambda finding: finding.number,
    )
    if [finding.number for finding in present] != list(range(1, len(present) + 1)):
        raise ObjectInvalid("the findings are not numbered 1, 2, 3, ...; segments must be")
    return tuple(present)


def organs(analysis: Analysis) -> tuple[Structure, ...]:
    """Return the structures by segment number; ObjectInvalid unless they are numbered on from the lesions."""
    drawn = sorted(analysis.structures, key=lambda structure: structure.number)
    first = len(lesions(analysis)) + 1
    if [structure.number for structure in drawn] != list(range(first, first + len(drawn))):
        raise ObjectInvalid("the structures are not numbered on from the findings; segments must be")
    return tuple(drawn)


def has_segments(analysis: Analysis) -> bool:
    """Say whether there is anything to write a segmentation of: a lesion or an organ."""
    return bool(lesions(analysis) or analysis.structures)


def tracking_words(structure: Structure) -> str:
    """Return the tracking identifier of an organ, the same in SEG and SR, as any character set can hold it."""
    return plain(structure.tracking_id) or f"Organ {structure.number}"


def segment_descriptions(analysis: Analysis, source: Dataset) -> list[SegmentDescription]:
    """Return the lesions and then the organs of an analysis of a series that ``source`` belongs to."""
    algorithm = _algorithm_identification(analysis.algorithm)
    return [
        *(_lesion(finding, algorithm, source) for finding in lesions(analysis)),
        *(_organ(structure, place, algorithm) for place, structure in enumerate(organs(analysis))),
    ]


def lesion_colour(number: int) -> tuple[int, int, int]:
    """Return the colour (red, green, blue) of a lesion by its number, the same wherever it is drawn."""
    return _LESION_COLOURS[(number - 1) % len(_LESION_COLOURS)]


def _lesion(finding: Finding, algorithm: AlgorithmIdentificationSequence, source: Dataset) -> SegmentDescription:
    place = place_of(finding.site, source)
    description = SegmentDescription(
        segment_number=finding.number,
        segment_label=plain(f"{finding.concept.meaning} {finding.number}"),
        segmented_property_category=MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=dicom_code(finding.concept),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=finding.tracking_uid,
        tracking_id=finding.tracking_id,
        anatomic_regions=[place.region] if place else None,
        display_color=CIELabColor.from_rgb(*lesion_colour(finding.number)),
    )
    if place is not None and place.side is not None:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [CodedConcept.from_code(place.side)]
    return description


def _organ(structure: Structure, place: int, algorithm: AlgorithmIdentificationSequence) -> SegmentDescription:
    """Describe an organ; its side is a modifier of the property type, which is the anatomy (PS3.3 C.8.20.4.1)."""
    description = SegmentDescription(
        segment_number=structure.number,
        segment_label=plain(structure.name) or plain(structure.site.concept.meaning),
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=dicom_code(structure.site.concept),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=structure.tracking_uid,
        tracking_id=tracking_words(structure),
        display_color=CIELabColor.from_rgb(*_organ_colour(place)),
    )
    if structure.site.laterality is not None:
        side = CodedConcept.from_code(dicom_code(structure.site.laterality))
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return description


def _organ_colour(place: int) -> tuple[int, int, int]:
    """Return the colour of an organ by its place in the table; neighbours differ in hue by the golden section."""
    saturation, brightness = _ORGAN_SHADES[place % len(_ORGAN_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(place * _GOLDEN_SECTION % 1.0, saturation, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def _algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        name=plain(algorithm.name),
        family=ARTIFICIAL_INTELLIGENCE,
        version=plain(algorithm.version),
        source="oncue",
        parameters={
            "weights_sha256": algorithm.weights_sha256,
            "parameters": plain(algorithm.parameters, _PARAMETER_CHARACTERS),
        },
    )
