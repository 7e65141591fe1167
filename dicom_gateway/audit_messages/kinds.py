"""The table from tags of the audit trail to messages of PS3.15 A.5.3. A tag that is not in it has no message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dicom_gateway.audit_messages.codes import Action, EventId, EventType, Indicator


class Shape(StrEnum):
    """Who takes part in a message, and which objects it names."""

    PROCESS = "process"  # one process of ours
    RECEIVED = "received"  # a peer sent to us
    SENT = "sent"  # we send to a peer
    PERFORMED = "performed"  # somebody did something with a study
    PATIENT = "patient"  # somebody changed what is known of a patient
    EXPORTED = "exported"  # somebody took something out
    ANNOUNCED = "announced"  # we tell somebody by a channel
    LOG = "log"  # somebody read the audit trail
    ASKED = "asked"  # somebody searched
    ALERT = "alert"  # we report what somebody did or tried
    AUTHENTICATED = "authenticated"  # somebody logged in or out


@dataclass(frozen=True, slots=True)
class MessageKind:
    """Which message an event becomes.

    ``codes`` are those of refusals that are worth an alert; None where all are. ``indicator`` is for tags whose
    outcome the trail does not count as a failure.
    """

    event: EventId
    action: Action
    shape: Shape
    type: EventType | None = None
    codes: frozenset[str] | None = None
    indicator: Indicator | None = None


def _alert(event_type: EventType, *codes: str) -> MessageKind:
    known = frozenset(codes) if codes else None
    return MessageKind(EventId.SECURITY_ALERT, Action.EXECUTE, Shape.ALERT, event_type, known)


def _read(event: EventId = EventId.INSTANCES_ACCESSED, shape: Shape = Shape.PERFORMED) -> MessageKind:
    return MessageKind(event, Action.READ, shape)


def _sent(event: EventId, action: Action, indicator: Indicator | None = None) -> MessageKind:
    return MessageKind(event, action, Shape.SENT, indicator=indicator)


def _activity(event_type: EventType) -> MessageKind:
    return MessageKind(EventId.APPLICATION_ACTIVITY, Action.EXECUTE, Shape.PROCESS, event_type)


def _authentication(event_type: EventType) -> MessageKind:
    return MessageKind(EventId.USER_AUTHENTICATION, Action.EXECUTE, Shape.AUTHENTICATED, event_type)


def _received(action: Action) -> MessageKind:
    return MessageKind(EventId.INSTANCES_TRANSFERRED, action, Shape.RECEIVED)


def _accessed(action: Action) -> MessageKind:
    return MessageKind(EventId.INSTANCES_ACCESSED, action, Shape.PERFORMED)


def _announced(indicator: Indicator | None = None) -> MessageKind:
    """Return the message of what leaves by a channel, in no form of DICOM: an export (A.5.3.4)."""
    return MessageKind(EventId.EXPORT, Action.READ, Shape.ANNOUNCED, indicator=indicator)


def _procedure(action: Action) -> MessageKind:
    return MessageKind(EventId.PROCEDURE_RECORD, action, Shape.PERFORMED)


_SOFTWARE = _alert(EventType.SOFTWARE_CONFIGURATION)
_SECURITY = _alert(EventType.SECURITY_ATTRIBUTES_CHANGED)
_WHO_MAY = _alert(EventType.USER_SECURITY_ATTRIBUTES_CHANGED)
_LOG_USED = _read(EventId.AUDIT_LOG_USED, Shape.LOG)

KINDS: Mapping[str, MessageKind] = {
    "process:started": _activity(EventType.APPLICATION_START),
    "process:stopped": _activity(EventType.APPLICATION_STOP),
    "process:refused": _alert(EventType.SOFTWARE_CONFIGURATION, "weights_mismatch", "pickle_refused", "code_refused"),
    "association:refused": _alert(EventType.NODE_AUTHENTICATION),
    "instance:refused": _alert(
        EventType.RESTRICTED_FUNCTION,
        "peer_refused",
        "object_mismatch",
        "undecodable_object",
        "data_set_too_complex",
        "instance_too_large",
    ),
    "instance:stored": _received(Action.CREATE),
    "instance:changed": _received(Action.UPDATE),
    "delivery:opened": _sent(EventId.BEGIN_TRANSFERRING, Action.EXECUTE),
    "delivery:sent": _sent(EventId.INSTANCES_TRANSFERRED, Action.CREATE),
    "delivery:refused": _sent(EventId.INSTANCES_TRANSFERRED, Action.CREATE),
    "delivery:postponed": _sent(EventId.INSTANCES_TRANSFERRED, Action.CREATE, Indicator.MINOR_FAILURE),
    "object:written": _accessed(Action.CREATE),
    "picture:read": _read(),
    "headers:read": _read(),
    "images:read": _read(),
    "study:read": _read(),
    "study:retrieved": _read(),
    "study:seen": _read(),
    "study:analysed": _read(),
    "export:made": _read(EventId.EXPORT, Shape.EXPORTED),
    "announcement:sent": _announced(),
    "announcement:failed": _announced(Indicator.MINOR_FAILURE),
    "announcement:refused": _announced(),
    "study:escalated": _procedure(Action.UPDATE),
    "workitem:created": _procedure(Action.CREATE),
    "workitem:prioritised": _procedure(Action.UPDATE),
    "workitem:changed": _procedure(Action.UPDATE),
    "workitem:claimed": _procedure(Action.UPDATE),
    "workitem:completed": _procedure(Action.UPDATE),
    "workitem:canceled": _procedure(Action.UPDATE),
    "study:images-deleted": MessageKind(EventId.STUDY_DELETED, Action.DELETE, Shape.PERFORMED),
    "study:results-deleted": _accessed(Action.DELETE),
    "study:pictures-deleted": _accessed(Action.DELETE),
    "study:patient-changed": MessageKind(EventId.PATIENT_RECORD, Action.UPDATE, Shape.PATIENT),
    "holdings:queried": MessageKind(EventId.QUERY, Action.EXECUTE, Shape.ASKED),
    "audit:queried": MessageKind(EventId.QUERY, Action.EXECUTE, Shape.ASKED),
    "audit:read": _LOG_USED,
    "audit:archived": _LOG_USED,
    "audit:guards-missing": _SECURITY,
    "routes:in-force": _SOFTWARE,
    "triage:configured": _SOFTWARE,
    "triage:promoted": _SOFTWARE,
    "triage:shadowed": _SOFTWARE,
    "triage:retired": _SOFTWARE,
    "peer:added": _SECURITY,
    "peer:changed": _SECURITY,
    "peer:removed": _SECURITY,
    "destination:added": _SECURITY,
    "destination:changed": _SECURITY,
    "destination:removed": _SECURITY,
    "fetch-source:added": _SECURITY,
    "fetch-source:changed": _SECURITY,
    "fetch-source:removed": _SECURITY,
    "channel:added": _SECURITY,
    "channel:changed": _SECURITY,
    "channel:removed": _SECURITY,
    "model:added": _SOFTWARE,
    "model:removed": _SOFTWARE,
    "adapter:promoted": _SOFTWARE,
    "adapter:rolled-back": _SOFTWARE,
    "token:made": _WHO_MAY,
    "token:revoked": _WHO_MAY,
    "user:logged-in": _authentication(EventType.LOGIN),
    "user:login-refused": _authentication(EventType.LOGIN),
    "user:logged-out": _authentication(EventType.LOGOUT),
}
"""What each tag becomes."""
