"""What a message is about: ParticipantObjectIdentification of PS3.15 A.5.2, read from an event.

Patients are named by the salted key that the trail has of them, never by their ID or name.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicom_gateway.audit_messages.codes import ObjectIdType, ObjectRole, ObjectType
from dicom_gateway.audit_messages.details import Details
from dicom_gateway.audit_messages.kinds import Shape
from dicom_gateway.audit_messages.participants import AuditSource
from storage.audit import AuditEvent

ALERT_DESCRIPTION = "Alert Description"
"""Type of the detail that every alert has (A.5.3.11)."""

_INSTANCE = "instance/"
_NO_PATIENT = "none"
_NO_STUDY = "unknown"
_FOUND_BY = ("study", "patient_key")


@dataclass(frozen=True, slots=True)
class ObjectDetail:
    """One thing that is known of a participant object beside its identifier."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class ParticipantObject:
    """One object. It has a name or, where it is a search, what was asked for; ``instances`` are SOP Instance UIDs."""

    identifier: str
    id_type: ObjectIdType
    type: ObjectType
    role: ObjectRole | None = None
    name: str | None = None
    query: str | None = None
    details: tuple[ObjectDetail, ...] = ()
    instances: tuple[str, ...] = ()


def participant_objects(
    event: AuditEvent, details: Details, shape: Shape, source: AuditSource
) -> tuple[ParticipantObject, ...]:
    """Return what an event is about; the first object carries its details."""
    if shape in (Shape.PROCESS, Shape.AUTHENTICATED):
        return ()
    if shape is Shape.LOG:
        return (_log(event, details, source),)
    if shape is Shape.ASKED:
        return (_query(event, details), *_known_patient(event))
    if shape is Shape.ALERT:
        return (_alerted(event, details, source),)
    if shape is Shape.PATIENT:
        return (_patient(event, _all_details(event, details)),)
    return _study(event, details), _patient(event)


def _study(event: AuditEvent, details: Details) -> ParticipantObject:
    subject = event.subject
    return ParticipantObject(
        event.study or _NO_STUDY,
        ObjectIdType.STUDY_INSTANCE_UID,
        ObjectType.SYSTEM_OBJECT,
        ObjectRole.REPORT,
        name="Study",
        details=_all_details(event, details),
        instances=(subject.removeprefix(_INSTANCE),) if subject.startswith(_INSTANCE) else (),
    )


def _patient(event: AuditEvent, details: tuple[ObjectDetail, ...] = ()) -> ParticipantObject:
    return ParticipantObject(
        event.patient_key or _NO_PATIENT,
        ObjectIdType.PATIENT_NUMBER,
        ObjectType.PERSON,
        ObjectRole.PATIENT,
        name="Salted key of the Patient ID",
        details=details,
    )


def _known_patient(event: AuditEvent) -> tuple[ParticipantObject, ...]:
    return (_patient(event),) if event.patient_key else ()


def _log(event: AuditEvent, details: Details, source: AuditSource) -> ParticipantObject:
    return ParticipantObject(
        f"oncue:{source.identifier}/audit",
        ObjectIdType.URI,
        ObjectType.SYSTEM_OBJECT,
        ObjectRole.SECURITY_RESOURCE,
        name="Security Audit Log",
        details=_all_details(event, details),
    )


def _query(event: AuditEvent, details: Details) -> ParticipantObject:
    return ParticipantObject(
        event.subject,
        ObjectIdType.SEARCH_CRITERIA,
        ObjectType.SYSTEM_OBJECT,
        ObjectRole.QUERY,
        query=event.details,
        details=_all_details(event, details),
    )


def _alerted(event: AuditEvent, details: Details, source: AuditSource) -> ParticipantObject:
    """Return what an alert is about: the node that tried something, or what was changed."""
    node = details.text("address") is not None
    told = ObjectDetail(ALERT_DESCRIPTION, f"{event.tag}: {details.text('code') or event.outcome}")
    return ParticipantObject(
        event.actor if node else f"oncue:{source.identifier}/{event.subject}",
        ObjectIdType.NODE_ID if node else ObjectIdType.URI,
        ObjectType.SYSTEM_OBJECT,
        name=event.subject,
        details=(told, *_all_details(event, details)),
    )


def _all_details(event: AuditEvent, details: Details) -> tuple[ObjectDetail, ...]:
    """Return what leads back to the event in the trail, and all that it says."""
    columns = (("event", str(event.seq)), ("tag", event.tag), ("subject", event.subject), ("outcome", event.outcome))
    rest = ((name, value) for name, value in details.values.items() if name not in _FOUND_BY)
    return tuple(ObjectDetail(name, value) for name, value in (*columns, *rest))
