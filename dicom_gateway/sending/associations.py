"""Requested associations: opened with quiet logging, TCP_NODELAY and TLS, and refused openings told apart."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.errors import GatewayError, PeerRejectedObject, PeerUnreachable, PeerUntrusted
from dicom_gateway.objects.equipment import IMPLEMENTATION_CLASS_UID
from dicom_gateway.privacy import keep_identifiers_out_of_logs
from dicom_gateway.tls.destination_handshake import DestinationHandshake, DestinationTls
from storage.errors import ConfigurationError

MAXIMUM_PDU_BYTES = 131_072
MOST_CONTEXTS = 128  # presentation context ids are the odd numbers below 256
_REJECTED_PERMANENTLY = 1
_REJECTED_FOR_NOW = 2


@dataclass(frozen=True, slots=True)
class PeerTimeouts:
    """How long to wait for a peer, in seconds: to connect, to agree on an association, to answer one request."""

    connect_seconds: float = 10.0
    associate_seconds: float = 30.0
    answer_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """One presentation context to propose: a SOP class in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str


@contextlib.contextmanager
def open_association(
    destination: Destination,
    proposals: Iterable[Proposal],
    *,
    calling_ae_title: str,
    timeouts: PeerTimeouts,
    tls: DestinationTls | None = None,
) -> Iterator[Association]:
    """Open an association, hand it out, and release it.

    Without ``tls``, destinations with TLS are held against the system's authorities and shown no certificate.
    Raises PeerUnreachable where trying later can help (refused connection, timeout, transient rejection, abort),
    PeerUntrusted where TLS fails on either side's certificate, and PeerRejectedObject where trying later cannot help
    (permanent rejection, no proposal accepted).
    """
    keep_identifiers_out_of_logs()
    handshake = _handshake(destination, tls) if destination.tls else None
    association = _associate(destination, proposals, calling_ae_title, timeouts, handshake)
    if not association.is_established:
        if handshake is not None:
            handshake.close()
            if handshake.failure:
                raise PeerUntrusted(f"{destination}: {handshake.failure}")
        raise _refusal(association, destination)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _handshake(destination: Destination, tls: DestinationTls | None) -> DestinationHandshake:
    try:
        return (tls or DestinationTls(GatewaySettings())).handshake(destination)
    except ConfigurationError as error:
        raise PeerUntrusted(f"{destination}: {error}") from error


def _associate(
    destination: Destination,
    proposals: Iterable[Proposal],
    calling_ae_title: str,
    timeouts: PeerTimeouts,
    handshake: DestinationHandshake | None,
) -> Association:
    entity = AE(ae_title=calling_ae_title)
    entity.connection_timeout = timeouts.connect_seconds
    entity.acse_timeout = timeouts.associate_seconds
    entity.dimse_timeout = timeouts.answer_seconds
    entity.network_timeout = timeouts.answer_seconds
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    try:
        return entity.associate(
            destination.host,
            destination.port,
            contexts=_contexts(proposals),
            ae_title=destination.ae_title,
            max_pdu=MAXIMUM_PDU_BYTES,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
            tls_args=handshake.tls_args if handshake is not None else None,
        )
    except OSError as error:
        raise PeerUnreachable(
            f"{destination}: the host name cannot be resolved ({error.strerror}); check the destination"
        ) from error


def _contexts(proposals: Iterable[Proposal]) -> list[PresentationContext]:
    distinct = list(dict.fromkeys(proposals))
    if len(distinct) > MOST_CONTEXTS:
        raise ValueError("an association has room for 128 presentation contexts")
    return [build_context(proposal.sop_class_uid, proposal.transfer_syntax_uid) for proposal in distinct]


def _send_at_once(event: evt.Event) -> None:
    """Turn Nagle's algorithm off, which otherwise holds back the end of each message."""
    connection = event.assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _refusal(association: Association, destination: Destination) -> GatewayError:
    """Return why an association did not come about."""
    answer = association.acceptor.primitive
    result = getattr(answer, "result", None)
    if answer is None or result is None:
        return PeerUnreachable(f"{destination} does not answer; check that it runs, and host, port and firewall")
    if result == _REJECTED_PERMANENTLY:
        return PeerRejectedObject(
            f"{destination} rejected the association: {answer.reason_str}; check both AE titles and the peer's own list"
        )
    if result == _REJECTED_FOR_NOW:
        return PeerUnreachable(f"{destination} rejected the association for now: {answer.reason_str}")
    return PeerRejectedObject(
        f"{destination} takes none of what was offered; check which SOP classes and transfer syntaxes it accepts"
    )
