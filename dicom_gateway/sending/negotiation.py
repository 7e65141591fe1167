"""Ask a destination what it takes, and send it nothing: one association, or one request to a DICOMweb service."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.chosen_forms import SENDABLE, SOP_CLASSES
from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.errors import GatewayError, PeerRejectedObject, PeerUnreachable, PeerUntrusted
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.requested_association import Proposal
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.errors import ConfigurationError

Taken = Mapping[str, tuple[str, ...]]
"""Transfer syntaxes that a peer takes, by SOP class; none for a class that it does not take."""

_VERIFICATION = Proposal(str(Verification), str(ImplicitVRLittleEndian))
_BOUNDARY = "oncue-asks-and-stores-nothing"
_GONE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_NOT_THERE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_CLOSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Question:
    """How destinations are asked: under which AE title, how patiently, with which certificates."""

    calling_ae_title: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None = None

    def ask(self, address: Destination | WebAddress, *, authorization: str | None = None) -> Taken:
        """Return what a destination takes of all that we write.

        Of a DICOMweb service nothing is known beforehand, as PS3.18 has no such question: an empty mapping says that it
        is there. ``authorization`` is the header that it is sent. Raises PeerUnreachable, PeerUntrusted, and
        PeerRejectedObject where the peer turns us away or takes nothing at all.
        """
        if isinstance(address, WebAddress):
            self._ask_service(address, authorization)
            return {}
        return self._ask_peer(address)

    def _ask_peer(self, destination: Destination) -> Taken:
        """Propose every SOP class in every transfer syntax, each in a context of its own: the peer answers them all."""
        forms = [Proposal(uid, syntax) for uid in SOP_CLASSES.values() for syntax in SENDABLE]
        with open_association(
            destination,
            [_VERIFICATION, *forms],
            calling_ae_title=self.calling_ae_title,
            timeouts=self.timeouts,
            tls=self.tls,
        ) as association:
            accepted = association.accepted
        return {
            uid: tuple(syntax for syntax in SENDABLE if Proposal(uid, syntax) in accepted)
            for uid in SOP_CLASSES.values()
        }

    def _ask_service(self, address: WebAddress, authorization: str | None) -> None:
        """Send a STOW-RS request (PS3.18 10.5) without any instance: whatever a service says of that, it is there."""
        body = f"--{_BOUNDARY}--\r\n".encode()
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
            **({"Authorization": authorization} if authorization else {}),
        }
        with self._connected(address) as connection:
            try:
                connection.request("POST", f"{address.path}/studies", body=body, headers=headers)
                status = connection.getresponse().status  # the body says nothing that is needed
            except (OSError, http.client.HTTPException) as error:
                raise _no_answer(address) from error
        _require_service(address, status)

    @contextlib.contextmanager
    def _connected(self, address: WebAddress) -> Iterator[http.client.HTTPConnection]:
        """Connect, within all the time that a peer has to agree on an association."""
        connection = http.client.HTTPConnection(address.host, address.port)
        sock = _opened(address, self.timeouts.connect_seconds)
        # A service that drips keeps every single wait short; this ends them all.
        limit = threading.Timer(self.timeouts.associate_seconds, _shut, [sock])
        limit.daemon = True
        limit.start()
        try:
            sock.settimeout(self.timeouts.associate_seconds)
            connection.sock = self._secured(sock, address)
            yield connection
        finally:
            limit.cancel()
            connection.close()
            sock.close()

    def _secured(self, sock: socket.socket, address: WebAddress) -> socket.socket:
        if not address.tls:
            return sock
        try:
            return (self.tls or DestinationTls(GatewaySettings())).secure(sock, address)
        except ConfigurationError as error:
            raise PeerUntrusted(f"{address}: {error}") from error
        except OSError as error:
            raise _no_answer(address) from error


def _opened(address: WebAddress, seconds: float) -> socket.socket:
    try:
        return socket.create_connection((address.host, address.port), seconds)
    except OSError as error:
        raise _no_answer(address) from error


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _require_service(address: WebAddress, status: int) -> None:
    if status in _CLOSED:
        raise PeerRejectedObject(f"{address} answers HTTP {status}: it wants other credentials (--credentials FILE)")
    if status in _NOT_THERE:
        raise PeerRejectedObject(
            f"{address} answers HTTP {status}: nothing takes objects at {address.path or '/'}/studies; check the path"
        )
    if status in _GONE:
        raise PeerUnreachable(f"{address} answers HTTP {status}: the service behind it does not run")


def _no_answer(address: WebAddress) -> GatewayError:
    return PeerUnreachable(f"{address} does not answer; check that it runs, and host, port and firewall")
