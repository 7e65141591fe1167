"""The reading priority in a report: what the triage policy decided, by which of its rules.

It speaks of the study, and no measurement group does: it stands in the container of qualitative evaluations, beside
that of the measurements (PS3.16 TID 1500).
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodeContentItem, ContainerContentItem, ContentSequence, RelationshipTypeValues, TextContentItem
from pydicom.sr.coding import Code as DicomCode

from dicom_gateway.objects import codes
from dicom_gateway.objects.plain_text import plain
from storage.domain import Priority, TriageDecision

_RULE_CHARACTERS = 1024
_CONTAINS = RelationshipTypeValues.CONTAINS


def priority_evaluation(decision: TriageDecision) -> ContainerContentItem:
    """Return the container with the priority, the rule that gave it, and the digest of the policy it stands in."""
    container = ContainerContentItem(
        codes.QUALITATIVE_EVALUATIONS, is_content_continuous=False, relationship_type=_CONTAINS
    )
    container.ContentSequence = ContentSequence(
        [
            CodeContentItem(codes.READING_PRIORITY, codes.PRIORITIES[decision.priority], _CONTAINS),
            *_text(codes.TRIAGE_RULE, plain(decision.rule, _RULE_CHARACTERS)),
            *_text(codes.TRIAGE_POLICY, plain(decision.policy_sha256)),
        ]
    )
    return container


def key_object_title(priority: Priority | None) -> DicomCode:
    """Return the title of a key object: Of Interest (PS3.16 CID 7010), or with a priority one of our own."""
    return codes.OF_INTEREST if priority is None else codes.OF_INTEREST_BY_PRIORITY[priority]


def private_scheme() -> CodingSchemeIdentificationItem:
    """Return the item that says whose scheme our own codes are of (PS3.3 C.12.1.1.7)."""
    return CodingSchemeIdentificationItem(
        codes.PRIVATE_SCHEME, name=codes.PRIVATE_SCHEME_NAME, responsible_organization="oncue"
    )


def _text(name: DicomCode, value: str) -> list[TextContentItem]:
    return [TextContentItem(name, value, _CONTAINS)] if value else []
