"""A DICOM audit message as a FHIR R4 AuditEvent, which has the same model (FHIR R4 6.4.7, mapping to DICOM)."""

from __future__ import annotations

import base64
import json
from typing import Any

from dicom_gateway.audit_messages.codes import AuditCode, ObjectIdType
from dicom_gateway.audit_messages.message import AuditMessage
from dicom_gateway.audit_messages.participant_objects import ParticipantObject
from dicom_gateway.audit_messages.participants import AuditSource, Participant

Json = dict[str, Any]

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_SYSTEMS = {"DCM": _DCM, "RFC-3881": "urn:ietf:rfc:3881"}
_TAGS = "urn:oncue:audit-tag"
_KEYS = "urn:oncue:patient-key"
_SOURCE_TYPES = "http://terminology.hl7.org/CodeSystem/security-source-type"
_OBJECT_TYPES = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLES = "http://terminology.hl7.org/CodeSystem/object-role"
_UIDS = "urn:dicom:uid"


def as_fhir(message: AuditMessage) -> Json:
    """Return a message as the JSON object of an AuditEvent."""
    subtypes = [_coding(message.type.value)] if message.type is not None else []
    resource: Json = {
        "resourceType": "AuditEvent",
        "id": f"event-{message.number}",
        "type": _coding(message.event.value),
        "subtype": [*subtypes, {"system": _TAGS, "code": message.tag}],
        "action": message.action.value,
        "recorded": message.at,
        "outcome": message.outcome.value,
        "agent": [_agent(participant) for participant in message.participants],
        "source": _source(message.source),
    }
    if message.reason is not None:
        resource["outcomeDesc"] = message.reason
    if message.objects:
        resource["entity"] = [_entity(item) for item in message.objects]
    return resource


def as_fhir_line(message: AuditMessage) -> str:
    """Return a message as one line of JSON, as bulk exports have it (NDJSON)."""
    return json.dumps(as_fhir(message), ensure_ascii=False, separators=(",", ":"))


def _agent(participant: Participant) -> Json:
    agent: Json = {"who": {"identifier": {"value": participant.user}}, "requestor": participant.requestor}
    if participant.role is not None:
        agent["type"] = {"coding": [_coding(participant.role.value)]}
    if participant.ae_title is not None:
        agent["altId"] = f"AETITLES={participant.ae_title}"
    if participant.network is not None:
        agent["network"] = {"address": participant.network.address, "type": participant.network.kind.value}
    return agent


def _source(source: AuditSource) -> Json:
    found: Json = {
        "observer": {"identifier": {"value": source.identifier}},
        "type": [{"system": _SOURCE_TYPES, "code": "4", "display": "Application Server"}],
    }
    return found if source.site is None else {"site": source.site, **found}


def _entity(item: ParticipantObject) -> Json:
    entity: Json = {
        "what": {"identifier": _identifier(item)},
        "type": {"system": _OBJECT_TYPES, "code": item.type.value},
    }
    if item.role is not None:
        entity["role"] = {"system": _OBJECT_ROLES, "code": item.role.value}
    if item.query is not None:
        # Rule sev-1: a name or a query, never both.
        entity["query"] = base64.b64encode(item.query.encode()).decode("ascii")
    elif item.name is not None:
        entity["name"] = item.name
    instances = [{"type": "SOP Instance UID", "valueString": uid} for uid in item.instances]
    details = [{"type": detail.type, "valueString": detail.value} for detail in item.details if detail.value]
    if details or instances:
        entity["detail"] = [*details, *instances]
    return entity


def _identifier(item: ParticipantObject) -> Json:
    """Return an object's identifier in FHIR's own form: UIDs as URNs, patients in a system of their own."""
    if item.id_type is ObjectIdType.STUDY_INSTANCE_UID:
        return {"system": _UIDS, "value": f"urn:oid:{item.identifier}"}
    if item.id_type is ObjectIdType.PATIENT_NUMBER:
        return {"system": _KEYS, "value": item.identifier}
    return {"type": {"coding": [_coding(item.id_type.value)]}, "value": item.identifier}


def _coding(code: AuditCode) -> Json:
    return {"system": _SYSTEMS[code.system], "code": code.value, "display": code.meaning}
