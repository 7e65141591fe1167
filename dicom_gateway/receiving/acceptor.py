"""One connection, in a thread of its own: handshake, association request, answer, association, end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dicom_gateway.errors import AssociationInterrupted, ConnectionLost, ProtocolViolation
from dicom_gateway.protocol import pdus
from dicom_gateway.protocol.channel import REQUEST_LATE, Channel
from dicom_gateway.protocol.pdus import AbortReason, Identification, PduType
from dicom_gateway.receiving import association_request
from dicom_gateway.receiving.admission import (
    TOO_MANY_ASSOCIATIONS,
    Admission,
    Admitted,
    Caller,
    Refused,
    RejectReason,
)
from dicom_gateway.receiving.association import AssociationLimits, HowEnded, OpenAssociation
from dicom_gateway.receiving.association_request import AssociationRequest
from dicom_gateway.receiving.bounded_log import BoundedLog
from dicom_gateway.receiving.doors import Arrival
from dicom_gateway.receiving.half_open import HalfOpen
from dicom_gateway.receiving.messages import Messages
from dicom_gateway.receiving.negotiation import Accepted, Negotiation
from dicom_gateway.receiving.outlet import Outlet
from dicom_gateway.receiving.services import ServiceParts, Services
from dicom_gateway.receiving.slots import Slot, Slots
from dicom_gateway.receiving.store_request import safe_title
from dicom_gateway.tls.doors import Secured

_LARGEST_REQUEST_BYTES = 256 << 10  # 128 contexts with every transfer syntax there is need 200 KiB
_LARGEST_REQUEST_OF_STRANGERS_BYTES = 64 << 10
_MOST_ENDING = 64
_PROTOCOL_VERSION_1 = 0x0001
_PROTOCOL_VERSION_UNKNOWN = RejectReason(1, 2, 2)
_APPLICATION_CONTEXT_UNKNOWN = RejectReason(1, 1, 2)

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that a peer has for its request, for each PDU, and to take an answer."""

    request_seconds: float
    pdu_seconds: float
    send_seconds: float


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every connection of a listener."""

    timing: Timing
    limits: AssociationLimits
    negotiation: Negotiation
    identification: Identification


@dataclass(frozen=True, slots=True)
class Shared:
    """What the connections of a listener share."""

    admission: Admission
    services: ServiceParts
    slots: Slots
    half_open: HalfOpen
    log: BoundedLog


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who is told of associations that open and end."""

    on_open: Callable[[OpenAssociation], None]
    on_end: Callable[[OpenAssociation], None]


class Acceptor:
    """Serves connections, each in the thread that calls ``serve``."""

    def __init__(self, rules: Rules, shared: Shared, watchers: Watchers) -> None:
        self._rules = rules
        self._shared = shared
        self._watchers = watchers
        self._ending = threading.BoundedSemaphore(_MOST_ENDING)

    def serve(self, arrival: Arrival) -> None:
        """Run one connection to its end and close it."""
        connection = arrival.connection
        deadline = time.monotonic() + self._rules.timing.request_seconds
        try:
            secured = self._secured(arrival)
            with contextlib.closing(secured.connection):
                self._converse(arrival, secured, deadline)
        except OSError:
            # Nobody's fault and nothing lost: a health check that connects and leaves looks like this.
            logger.debug("connection.ended", code="connection_lost", address=arrival.address)
        except Exception:  # edge: one connection that meets a fault of ours must not end the process
            logger.exception("connection.failed", code="unexpected_error", address=arrival.address)
        finally:
            self._shared.half_open.remove(connection)
            connection.close()

    def _secured(self, arrival: Arrival) -> Secured:
        connection = arrival.connection
        connection.settimeout(self._rules.timing.request_seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return arrival.door.secure(connection) if arrival.door.secure else Secured(connection)

    def _converse(self, arrival: Arrival, secured: Secured, deadline: float) -> None:
        timing = self._rules.timing
        channel = Channel(secured.connection, pdu_seconds=timing.pdu_seconds, send_seconds=timing.send_seconds)
        try:
            request = self._request(arrival, channel, deadline)
            caller = Caller(
                safe_title(request.calling_aet),
                safe_title(request.called_aet),
                arrival.address,
                secured.certificate_names,
            )
            self._answer(arrival, channel, request, caller)
        except ProtocolViolation as error:
            self._shared.log.write("connection.ended", code=error.code, address=arrival.address, reason=str(error))
            if error.code == REQUEST_LATE:
                return  # closed without a word, as the standard has it (PS3.8 9.2.3, action AA-2)
            with contextlib.suppress(ConnectionLost, ProtocolViolation, AssociationInterrupted):
                channel.send(pdus.abort(error.abort_reason))
        except (ConnectionLost, AssociationInterrupted):
            logger.debug("connection.ended", code="connection_lost", address=arrival.address)
            return
        channel.finish()

    def _request(self, arrival: Arrival, channel: Channel, deadline: float) -> AssociationRequest:
        known = self._shared.admission.is_known_address(arrival.address)
        longest = _LARGEST_REQUEST_BYTES if known else _LARGEST_REQUEST_OF_STRANGERS_BYTES
        pdu = channel.read_first(deadline=deadline, longest_bytes=longest)
        if pdu.kind is PduType.ABORT:
            raise ConnectionLost("the peer aborted before it asked for anything")
        if pdu.kind is not PduType.ASSOCIATE_RQ:
            raise ProtocolViolation(
                f"a PDU of the type {pdu.kind.name} before any association",
                code="not_an_association_request",
                abort_reason=AbortReason.UNEXPECTED_PDU,
            )
        return association_request.decode(pdu.body)

    def _answer(self, arrival: Arrival, channel: Channel, request: AssociationRequest, caller: Caller) -> None:
        reason = _unfit(request)
        if reason is not None:
            channel.send(pdus.associate_reject(reason.result, reason.source, reason.reason))
            return
        admitted = self._shared.admission.admit(caller)
        if isinstance(admitted, Refused):
            self._refuse(channel, caller, admitted)
            return
        association = OpenAssociation(caller, channel, self._shared.log)
        slot = self._shared.slots.take(admitted.place_holder, caller.address, association.displace)
        if slot is None:
            self._refuse(channel, caller, TOO_MANY_ASSOCIATIONS)
            return
        services = Services(self._shared.services, admitted)
        # Open before it is no longer half-open: whoever stops the listener finds every connection in one of the two.
        self._watchers.on_open(association)
        try:
            self._shared.half_open.remove(arrival.connection)
            contexts = self._accept(channel, request, admitted)
            limits = self._rules.limits
            messages = Messages(
                contexts,
                services,
                Outlet(channel, request.maximum_pdu_bytes),
                slot=slot,
                longest_data_set_bytes=limits.longest_data_set_bytes,
                answer_seconds=limits.idle_seconds,
            )
            how = association.run(messages, limits)
            self._record_end(services, slot, how)
        finally:
            self._shared.slots.free(slot)
            self._watchers.on_end(association)
            # Back among those without an association: waiting for the peer to close must not be free of bounds.
            self._shared.half_open.add(arrival.connection, arrival.address, is_known=True, is_over=True)

    def _record_end(self, services: Services, slot: Slot, how: HowEnded) -> None:
        """Put the end on record. The peer may come again meanwhile, unless very many ends wait for the database."""
        if not self._ending.acquire(blocking=False):
            services.ended(how)
            return
        try:
            self._shared.slots.free(slot)
            services.ended(how)
        finally:
            self._ending.release()

    def _accept(self, channel: Channel, request: AssociationRequest, admitted: Admitted) -> Accepted:
        agreed = self._rules.negotiation.agree(request, admitted)
        ours = self._rules.identification
        channel.send(
            pdus.associate_accept(request.titles, request.application_context, agreed.answers, ours, roles=agreed.roles)
        )
        return agreed.contexts

    def _refuse(self, channel: Channel, caller: Caller, refused: Refused) -> None:
        reason = refused.reason
        channel.send(pdus.associate_reject(reason.result, reason.source, reason.reason))
        self._shared.admission.note_refusal(caller, refused)


def _unfit(request: AssociationRequest) -> RejectReason | None:
    """Say why a request is none of ours, whoever asks; None where it is fit."""
    if not request.protocol_version & _PROTOCOL_VERSION_1:
        return _PROTOCOL_VERSION_UNKNOWN
    if request.application_context != pdus.DICOM_APPLICATION_CONTEXT:
        return _APPLICATION_CONTEXT_UNKNOWN
    return None
