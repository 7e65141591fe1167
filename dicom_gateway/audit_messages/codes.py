"""Codes of audit messages (PS3.16 CID 400 to 404; PS3.15 A.5.1.2): what happened, of which type, in which role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

_DCM = "DCM"
_RFC_3881 = "RFC-3881"


@dataclass(frozen=True, slots=True)
class AuditCode:
    """One code with the system that it is of and its meaning."""

    value: str
    system: str
    meaning: str


class EventId(Enum):
    """The family that an event belongs to (CID 400)."""

    APPLICATION_ACTIVITY = AuditCode("110100", _DCM, "Application Activity")
    AUDIT_LOG_USED = AuditCode("110101", _DCM, "Audit Log Used")
    BEGIN_TRANSFERRING = AuditCode("110102", _DCM, "Begin Transferring DICOM Instances")
    INSTANCES_ACCESSED = AuditCode("110103", _DCM, "DICOM Instances Accessed")
    INSTANCES_TRANSFERRED = AuditCode("110104", _DCM, "DICOM Instances Transferred")
    STUDY_DELETED = AuditCode("110105", _DCM, "DICOM Study Deleted")
    EXPORT = AuditCode("110106", _DCM, "Export")
    PATIENT_RECORD = AuditCode("110110", _DCM, "Patient Record")
    PROCEDURE_RECORD = AuditCode("110111", _DCM, "Procedure Record")
    QUERY = AuditCode("110112", _DCM, "Query")
    SECURITY_ALERT = AuditCode("110113", _DCM, "Security Alert")
    USER_AUTHENTICATION = AuditCode("110114", _DCM, "User Authentication")


class EventType(Enum):
    """What it was within its family (CID 401)."""

    APPLICATION_START = AuditCode("110120", _DCM, "Application Start")
    APPLICATION_STOP = AuditCode("110121", _DCM, "Application Stop")
    LOGIN = AuditCode("110122", _DCM, "Login")
    LOGOUT = AuditCode("110123", _DCM, "Logout")
    NODE_AUTHENTICATION = AuditCode("110126", _DCM, "Node Authentication")
    SOFTWARE_CONFIGURATION = AuditCode("110131", _DCM, "Software Configuration")
    RESTRICTED_FUNCTION = AuditCode("110132", _DCM, "Use of Restricted Function")
    SECURITY_ATTRIBUTES_CHANGED = AuditCode("110135", _DCM, "Object Security Attributes Changed")
    USER_SECURITY_ATTRIBUTES_CHANGED = AuditCode("110137", _DCM, "User Security Attributes Changed")


class Role(Enum):
    """What part somebody had in an event (CID 402)."""

    APPLICATION = AuditCode("110150", _DCM, "Application")
    DESTINATION = AuditCode("110152", _DCM, "Destination Role ID")
    SOURCE = AuditCode("110153", _DCM, "Source Role ID")
    DESTINATION_MEDIA = AuditCode("110154", _DCM, "Destination Media")


class ObjectIdType(Enum):
    """What the identifier of a participant object is (PS3.15 A.5.1.2.4, PS3.16 CID 404)."""

    STUDY_INSTANCE_UID = AuditCode("110180", _DCM, "Study Instance UID")
    NODE_ID = AuditCode("110182", _DCM, "Node ID")
    PATIENT_NUMBER = AuditCode("2", _RFC_3881, "Patient Number")
    SEARCH_CRITERIA = AuditCode("10", _RFC_3881, "Search Criteria")
    URI = AuditCode("12", _RFC_3881, "URI")


class Action(StrEnum):
    """What was done."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Indicator(StrEnum):
    """How it ended: nominal; failed and tried again; failed for good."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


class ObjectType(StrEnum):
    """What kind of thing a participant object is."""

    PERSON = "1"
    SYSTEM_OBJECT = "2"


class ObjectRole(StrEnum):
    """What a participant object is in the event."""

    PATIENT = "1"
    REPORT = "3"
    SECURITY_RESOURCE = "13"
    QUERY = "24"


class NetworkType(StrEnum):
    """What the address of a participant is."""

    NAME = "1"
    ADDRESS = "2"
