"""The coded concepts of announcements, and what is said of a finding by them: the same in HL7 and in FHIR.

What the standards have no code for stands in our own scheme ``99ONCUE``, as in the DICOM objects
(``dicom_gateway.objects.codes``). Beside the concepts of those there are RESULT_OBJECT, the SOP Instance UID of an
object that holds the result, and STUDY_PAGE, the address of the study in the console.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.announcing.announcement import AnnouncedFinding
from dicom_gateway.announcing.readable_text import readable
from dicom_gateway.objects import codes
from storage.domain import Code, Presence, Priority

LOCAL_SCHEME = "L"
"""The scheme of a site's own labels, by HL7 table 0396."""


def concept(code: DicomCode) -> Code:
    """Return a code of the DICOM objects as one of the domain."""
    return Code(code.value, code.scheme_designator, code.meaning)


DIAGNOSTIC_IMAGING = Code("18748-4", "LN", "Diagnostic imaging study")
READING_PRIORITY = concept(codes.READING_PRIORITY)
TRIAGE_RULE = concept(codes.TRIAGE_RULE)
TRIAGE_POLICY = concept(codes.TRIAGE_POLICY)
RESULT_OBJECT = Code("RESULT_OBJECT", codes.PRIVATE_SCHEME, "DICOM object of the result")
STUDY_PAGE = Code("STUDY_PAGE", codes.PRIVATE_SCHEME, "Page of the study")
ALGORITHM = concept(codes.ALGORITHM_NAME)
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
STUDY_UID = concept(codes.STUDY_INSTANCE_UID)
CLASS = concept(codes.CLASS)
_ABSTAINED = concept(codes.ABSTAINED)
_PRESENCES = {Presence.PRESENT: concept(codes.PRESENT), Presence.ABSENT: concept(codes.ABSENT)}
_ABNORMAL = {Priority.STAT: "AA", Priority.HIGH: "A"}


@dataclass(frozen=True, slots=True)
class Measured:
    """One number that was measured of a finding; ``unit`` is a code of UCUM."""

    concept: Code
    value: Decimal
    unit: Code


def measured(finding: AnnouncedFinding) -> tuple[Measured, ...]:
    """Return what is known of a finding in numbers: volume and diameter where it has them, and how certain it is."""
    numbers = (
        (codes.VOLUME, finding.volume_ml, codes.MILLILITER),
        (codes.LONG_AXIS, finding.longest_diameter_mm, codes.MILLIMETER),
        (codes.CERTAINTY_OF_FINDING, 100.0 * finding.confidence, codes.PERCENT),
    )
    is_size = {codes.VOLUME, codes.LONG_AXIS}
    return tuple(
        Measured(concept(name), Decimal(f"{value:.2f}"), concept(unit))
        for name, value, unit in numbers
        if value > 0 or name not in is_size
    )


def stated(finding: AnnouncedFinding) -> Code:
    """Return what a finding says of its concept: present, absent, or the label that an image was given."""
    return _PRESENCES.get(finding.presence) or labelled(finding) or _ABSTAINED


def labelled(finding: AnnouncedFinding) -> Code | None:
    """Return a finding's label as a code of the site, None where it has none."""
    label = readable(finding.label or "")
    return Code(label, LOCAL_SCHEME, label) if label else None


def priority_value(priority: Priority) -> Code:
    """Return a reading priority as a code."""
    return concept(codes.PRIORITIES[priority])


def abnormal_flag(priority: Priority | None) -> str:
    """Return how abnormal a study of this priority is, by HL7 table 0078: AA, A, or nothing.

    A priority that is not urgent does not say that a study is normal.
    """
    return "" if priority is None else _ABNORMAL.get(priority, "")


def finding_flag(finding: AnnouncedFinding, priority: Priority | None) -> str:
    """Return how abnormal a finding is, by HL7 table 0078: N is one that was looked for and not found."""
    if finding.presence is Presence.ABSENT:
        return "N"
    flag = abnormal_flag(priority)
    return flag or "A" if finding.presence is Presence.PRESENT else flag
