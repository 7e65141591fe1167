"""A DICOM audit message as XML, in the form of the schema of PS3.15 A.5.1.1: attributes, and order of elements."""

from __future__ import annotations

import base64
import re
from xml.etree.ElementTree import Element, SubElement, tostring

from dicom_gateway.audit_messages.codes import AuditCode
from dicom_gateway.audit_messages.message import AuditMessage
from dicom_gateway.audit_messages.participant_objects import ParticipantObject
from dicom_gateway.audit_messages.participants import AuditSource, Participant

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_APPLICATION_SERVER = "4"
_TAGS = "99ONCUE"
# What XML 1.0 cannot hold at all, not even as a reference: a peer may put it into its AE title.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_xml(message: AuditMessage) -> str:
    """Return a message as one line of XML."""
    root = Element("AuditMessage")
    _identify_event(root, message)
    for participant in message.participants:
        _name_participant(root, participant)
    _name_source(root, message.source)
    for item in message.objects:
        _identify_object(root, item)
    return _DECLARATION + tostring(root, encoding="unicode").replace("\n", "&#10;")


def _identify_event(root: Element, message: AuditMessage) -> None:
    element = SubElement(
        root,
        "EventIdentification",
        EventActionCode=message.action.value,
        EventDateTime=message.at,
        EventOutcomeIndicator=message.outcome.value,
    )
    _code(element, "EventID", message.event.value)
    if message.type is not None:
        _code(element, "EventTypeCode", message.type.value)
    _code(element, "EventTypeCode", AuditCode(message.tag, _TAGS, message.tag))
    if message.reason is not None:
        SubElement(element, "EventOutcomeDescription").text = _clean(message.reason)


def _name_participant(root: Element, participant: Participant) -> None:
    element = SubElement(root, "ActiveParticipant", UserID=_clean(participant.user))
    if participant.ae_title is not None:
        element.set("AlternativeUserID", _clean(f"AETITLES={participant.ae_title}"))
    element.set("UserIsRequestor", "true" if participant.requestor else "false")
    if participant.network is not None:
        element.set("NetworkAccessPointID", _clean(participant.network.address))
        element.set("NetworkAccessPointTypeCode", participant.network.kind.value)
    if participant.role is not None:
        _code(element, "RoleIDCode", participant.role.value)


def _name_source(root: Element, source: AuditSource) -> None:
    element = SubElement(root, "AuditSourceIdentification", AuditSourceID=_clean(source.identifier))
    if source.site is not None:
        element.set("AuditEnterpriseSiteID", _clean(source.site))
    SubElement(element, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})


def _identify_object(root: Element, item: ParticipantObject) -> None:
    element = SubElement(root, "ParticipantObjectIdentification", ParticipantObjectID=_clean(item.identifier))
    element.set("ParticipantObjectTypeCode", item.type.value)
    if item.role is not None:
        element.set("ParticipantObjectTypeCodeRole", item.role.value)
    _code(element, "ParticipantObjectIDTypeCode", item.id_type.value)
    if item.query is not None:
        SubElement(element, "ParticipantObjectQuery").text = _base64(item.query)
    else:
        SubElement(element, "ParticipantObjectName").text = _clean(item.name or item.identifier)
    for detail in item.details:
        SubElement(element, "ParticipantObjectDetail", type=_clean(detail.type), value=_base64(detail.value))
    if item.instances:
        described = SubElement(element, "ParticipantObjectDescription")
        # The trail does not say of which SOP class an instance is; the schema leaves its UID open.
        sop_class = SubElement(described, "SOPClass", NumberOfInstances=str(len(item.instances)))
        for uid in item.instances:
            SubElement(sop_class, "Instance", UID=_clean(uid))


def _code(parent: Element, name: str, code: AuditCode) -> None:
    SubElement(
        parent, name, {"csd-code": code.value, "codeSystemName": code.system, "originalText": _clean(code.meaning)}
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
