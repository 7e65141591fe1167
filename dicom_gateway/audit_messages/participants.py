"""Who takes part in a message: ActiveParticipant of PS3.15 A.5.2, read from an event."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicom_gateway.audit_messages.codes import NetworkType, Role
from dicom_gateway.audit_messages.details import Details
from dicom_gateway.audit_messages.kinds import Shape
from storage.audit import AuditEvent

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Who reports: the AE title, which stands for the application, and the log's name (AuditSourceID)."""

    ae_title: str
    identifier: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class NetworkPoint:
    """Where a participant is on the network: an IP address or a name."""

    address: str

    @property
    def kind(self) -> NetworkType:
        """Whether it is an address or a name."""
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return NetworkType.NAME
        return NetworkType.ADDRESS


@dataclass(frozen=True, slots=True)
class Participant:
    """One participant. ``ae_title`` is given where it speaks DICOM; one of a message at most is the requestor."""

    user: str
    requestor: bool
    role: Role | None = None
    ae_title: str | None = None
    network: NetworkPoint | None = None


def participants(event: AuditEvent, details: Details, shape: Shape, source: AuditSource) -> tuple[Participant, ...]:
    """Return who takes part in an event, at least one."""
    return _TAKING_PART.get(shape, _performing)(event, details, source)


def _running(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    del details
    return (Participant(event.actor, requestor=False, role=Role.APPLICATION, ae_title=source.ae_title),)


def _receiving(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    sender = Participant(event.actor, requestor=True, role=Role.SOURCE, ae_title=event.actor, network=_network(details))
    return sender, _ourselves(source, Role.DESTINATION)


def _sending(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    del event
    return _ourselves(source, Role.SOURCE, requestor=True), _destination(details.text("destination"))


def _exporting(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    del source
    media = details.text("what") or "file"
    return _actor(event, details), Participant(media, requestor=False, role=Role.DESTINATION_MEDIA)


def _announcing(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    del event
    channel = f"channel/{details.text('channel') or _UNKNOWN}"
    receiver = Participant(channel, requestor=False, role=Role.DESTINATION_MEDIA)
    return _ourselves(source, Role.SOURCE, requestor=True), receiver


def _alerting(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    return _ourselves(source, Role.APPLICATION), _actor(event, details)


def _asking(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    return _actor(event, details, Role.SOURCE), _ourselves(source, Role.DESTINATION)


def _authenticating(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    del source
    # A.5.3.12 asks for the network access point of whoever logs in.
    network = NetworkPoint(details.text("address") or _UNKNOWN)
    return (Participant(event.actor, requestor=True, network=network),)


def _performing(event: AuditEvent, details: Details, source: AuditSource) -> tuple[Participant, ...]:
    del source
    return (_actor(event, details),)


_TAKING_PART: Mapping[Shape, Callable[[AuditEvent, Details, AuditSource], tuple[Participant, ...]]] = {
    Shape.PROCESS: _running,
    Shape.RECEIVED: _receiving,
    Shape.SENT: _sending,
    Shape.EXPORTED: _exporting,
    Shape.ANNOUNCED: _announcing,
    Shape.ALERT: _alerting,
    Shape.ASKED: _asking,
    Shape.AUTHENTICATED: _authenticating,
}


def _ourselves(source: AuditSource, role: Role, *, requestor: bool = False) -> Participant:
    return Participant(source.ae_title, requestor=requestor, role=role, ae_title=source.ae_title)


def _actor(event: AuditEvent, details: Details, role: Role | None = None) -> Participant:
    return Participant(event.actor, requestor=True, role=role, network=_network(details))


def _destination(text: str | None) -> Participant:
    """Return the peer that a destination, ``AET@HOST:PORT`` or ``tls://AET@HOST:PORT``, names."""
    title, _, place = (text or _UNKNOWN).removeprefix("tls://").partition("@")
    host = place.rpartition(":")[0].strip("[]")
    network = NetworkPoint(host) if host else None
    return Participant(title, requestor=False, role=Role.DESTINATION, ae_title=title, network=network)


def _network(details: Details) -> NetworkPoint | None:
    address = details.text("address")
    return NetworkPoint(address) if address else None
