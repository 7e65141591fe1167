"""An event of the audit trail as a DICOM audit message (PS3.15 A.5), before it is written as XML or FHIR."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_gateway.audit_messages.codes import Action, EventId, EventType, Indicator
from dicom_gateway.audit_messages.details import Details
from dicom_gateway.audit_messages.kinds import KINDS, MessageKind
from dicom_gateway.audit_messages.participant_objects import ParticipantObject, participant_objects
from dicom_gateway.audit_messages.participants import AuditSource, Participant, participants
from storage.audit import AuditEvent, Outcome

_INDICATORS = {
    Outcome.SUCCESS.value: Indicator.SUCCESS,
    Outcome.REFUSED.value: Indicator.SERIOUS_FAILURE,
    Outcome.FAILED.value: Indicator.SERIOUS_FAILURE,
}


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One message. ``at`` is ISO 8601 in UTC; ``number`` and ``tag`` are those of the event that it shows."""

    number: int
    tag: str
    event: EventId
    type: EventType | None
    action: Action
    at: str
    outcome: Indicator
    reason: str | None
    participants: tuple[Participant, ...]
    source: AuditSource
    objects: tuple[ParticipantObject, ...]


def message_of(event: AuditEvent, source: AuditSource) -> AuditMessage | None:
    """Return the message that shows an event, None where the standard has none for it (``kinds`` holds the table)."""
    kind, details = KINDS.get(event.tag), Details.read(event.details)
    if kind is None or not _is_worth_it(kind, details):
        return None
    outcome = kind.indicator or _INDICATORS.get(event.outcome, Indicator.SERIOUS_FAILURE)
    return AuditMessage(
        number=event.seq,
        tag=event.tag,
        event=kind.event,
        type=kind.type,
        action=kind.action,
        at=event.at,
        outcome=outcome,
        reason=None if outcome is Indicator.SUCCESS else details.text("code") or event.outcome,
        participants=participants(event, details, kind.shape, source),
        source=source,
        objects=participant_objects(event, details, kind.shape, source),
    )


def _is_worth_it(kind: MessageKind, details: Details) -> bool:
    return kind.codes is None or details.text("code") in kind.codes
