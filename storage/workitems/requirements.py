"""What the data set of a new workitem must hold, and what a later one may not change (PS3.4 Table CC.2.5-3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

from storage.attributes import Attributes, element
from storage.workitems.attributes import Tag
from storage.workitems.refusals import Refusal, WorkitemRefused
from storage.workitems.tables import WorkitemPriority, WorkitemState

LARGEST_CONTENT_CHARACTERS = 1 << 20
"""A workitem refers to what it is about; one that is larger carries something else."""

_LONGEST_LABEL = 64
_REQUIRED = (
    Tag.ScheduledProcedureStepPriority,
    Tag.ProcedureStepLabel,
    Tag.ScheduledProcedureStepStartDateTime,
    Tag.InputReadinessState,
)
_MAY_BE_EMPTY = {
    Tag.ScheduledWorkitemCodeSequence: "SQ",
    Tag.ScheduledProcessingParametersSequence: "SQ",
    Tag.ScheduledStationNameCodeSequence: "SQ",
    Tag.ScheduledStationClassCodeSequence: "SQ",
    Tag.ScheduledStationGeographicLocationCodeSequence: "SQ",
    Tag.InputInformationSequence: "SQ",
    Tag.StudyInstanceUID: "UI",
    Tag.PatientName: "PN",
    Tag.PatientID: "LO",
    Tag.IssuerOfPatientID: "LO",
    Tag.IssuerOfPatientIDQualifiersSequence: "SQ",
    Tag.OtherPatientIDsSequence: "SQ",
    Tag.PatientBirthDate: "DA",
    Tag.PatientSex: "CS",
    Tag.AdmissionID: "LO",
    Tag.IssuerOfAdmissionIDSequence: "SQ",
    Tag.AdmittingDiagnosesDescription: "LO",
    Tag.AdmittingDiagnosesCodeSequence: "SQ",
    Tag.ReferencedRequestSequence: "SQ",
    Tag.ProcedureStepProgressInformationSequence: "SQ",
    Tag.UnifiedProcedureStepPerformedProcedureSequence: "SQ",
}
_EMPTY_AT_FIRST = (
    Tag.TransactionUID,
    Tag.ProcedureStepProgressInformationSequence,
    Tag.UnifiedProcedureStepPerformedProcedureSequence,
)
_FIXED = (
    Tag.SOPClassUID,
    Tag.SOPInstanceUID,
    Tag.ProcedureStepState,
    Tag.PatientName,
    Tag.PatientID,
    Tag.IssuerOfPatientID,
    Tag.IssuerOfPatientIDQualifiersSequence,
    Tag.OtherPatientIDsSequence,
    Tag.PatientBirthDate,
    Tag.PatientSex,
    Tag.AdmissionID,
    Tag.IssuerOfAdmissionIDSequence,
    Tag.AdmittingDiagnosesDescription,
    Tag.AdmittingDiagnosesCodeSequence,
    Tag.StudyInstanceUID,
    Tag.ReferencedRequestSequence,
)
_READINESS = frozenset({"INCOMPLETE", "UNAVAILABLE", "READY"})
_DATE_TIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?([+-]\d{4})?")


def created(content: Attributes) -> Attributes:
    """Return the content of a new workitem with what may be empty; WorkitemRefused where it breaks a rule."""
    if content.value(Tag.ProcedureStepState) != WorkitemState.SCHEDULED:
        raise WorkitemRefused(Refusal.NOT_CREATED_AS_SCHEDULED, "a new workitem has the Procedure Step State SCHEDULED")
    for tag in _REQUIRED:
        _require(content, tag)
    for tag in _EMPTY_AT_FIRST:
        if content.values(tag):
            raise _invalid(tag, "it must be empty at first")
    checked(content)
    empty = {tag.value: element(vr) for tag, vr in _MAY_BE_EMPTY.items() if tag not in content}
    return content.without([Tag.TransactionUID, Tag.SpecificCharacterSet]).changed(empty)


def changeable(changes: Attributes) -> Attributes:
    """Return what is to be changed of a workitem; WorkitemRefused where something may not be."""
    changes = changes.without([Tag.TransactionUID, Tag.SpecificCharacterSet])
    fixed = _names(tag for tag in _FIXED if tag in changes)
    if fixed:
        raise WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, f"this may not be changed: {fixed}")
    for tag in (*_REQUIRED, Tag.WorklistLabel):
        if tag in changes:
            _require(changes, tag)
    checked(changes)
    return changes


def checked(content: Attributes) -> None:
    """See that those attributes that we go by have values that can be; WorkitemRefused."""
    priority, readiness = content.value(Tag.ScheduledProcedureStepPriority), content.value(Tag.InputReadinessState)
    if priority and priority not in list(WorkitemPriority):
        raise _invalid(Tag.ScheduledProcedureStepPriority, "it is HIGH, MEDIUM or LOW")
    if readiness and readiness not in _READINESS:
        raise _invalid(Tag.InputReadinessState, "it is INCOMPLETE, UNAVAILABLE or READY")
    for tag in (Tag.ProcedureStepLabel, Tag.WorklistLabel):
        if len(content.value(tag)) > _LONGEST_LABEL:
            raise _invalid(tag, f"it has at most {_LONGEST_LABEL} characters")
    if content.value(Tag.ScheduledProcedureStepStartDateTime):
        moment(content.value(Tag.ScheduledProcedureStepStartDateTime))
    if len(content.text()) > LARGEST_CONTENT_CHARACTERS:
        raise WorkitemRefused(Refusal.RESOURCE_LIMITATION, "the workitem is larger than 1 MiB")


def moment(text: str) -> datetime:
    """Return the moment that a DT value begins (PS3.5 6.2), in UTC where it names no offset; WorkitemRefused."""
    found = _DATE_TIME.fullmatch(text.strip())
    if found is None:
        raise _invalid(Tag.ScheduledProcedureStepStartDateTime, "it is no DT, such as 20260301143000+0100")
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    try:
        return datetime(
            int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), min(int(second or 0), 59),
            int((fraction or "0").ljust(6, "0")), tzinfo=_zone(offset),
        ).astimezone(UTC)  # fmt: skip # reads by its lines
    except (ValueError, OverflowError):
        raise _invalid(Tag.ScheduledProcedureStepStartDateTime, "there is no such day or time") from None


def _zone(offset: str | None) -> timezone:
    if offset is None:
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _require(content: Attributes, tag: Tag) -> None:
    if tag not in content:
        raise WorkitemRefused(Refusal.MISSING_ATTRIBUTE, f"the attribute {tag.name} is missing")
    if not content.values(tag):
        raise WorkitemRefused(Refusal.MISSING_ATTRIBUTE_VALUE, f"the attribute {tag.name} has no value")


def _invalid(tag: Tag, why: str) -> WorkitemRefused:
    return WorkitemRefused(Refusal.INVALID_ATTRIBUTE_VALUE, f"{tag.name}: {why}")


def _names(tags: Iterable[Tag]) -> str:
    return ", ".join(tag.name for tag in tags)
