"""Ask a destination what it takes, and send it nothing: one association, or one request to a DICOMweb service."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import, from a table

from dicom_gateway.chosen_forms import SENDABLE, SOP_CLASSES
from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.errors import PeerDeniedAccess, PeerRejectedObject, PeerUnreachable
from dicom_gateway.http_exchange import Deadline, HttpRequest, exchange
from dicom_gateway.sending.associations import PeerTimeouts, open_association
from dicom_gateway.sending.credentials import read_credentials
from dicom_gateway.sending.proposals import Proposal
from dicom_gateway.tls.connecting import connected
from dicom_gateway.tls.destination_handshake import DestinationTls

Taken = Mapping[str, tuple[str, ...]]
"""Transfer syntaxes that a peer takes, by SOP class; none for a class that it does not take."""

_VERIFICATION = Proposal(str(Verification), str(ImplicitVRLittleEndian))
_BOUNDARY = "oncue-asks-and-stores-nothing"
_MOST_ANSWER_BYTES = 1 << 20
_GONE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_NOT_THERE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_CLOSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


@dataclass(frozen=True, slots=True)
class Question:
    """How destinations are asked: under which AE title, how patiently, with which certificates."""

    calling_ae_title: str
    timeouts: PeerTimeouts
    tls: DestinationTls | None = None

    def ask(self, address: Destination | WebAddress, *, credentials: Path | None = None) -> Taken:
        """Return what a destination takes of all that we write.

        Of a DICOMweb service nothing is known beforehand, as PS3.18 has no such question: an empty mapping says that it
        is there. ``credentials`` is the file of what it is shown. Raises PeerUnreachable, PeerUntrusted,
        PeerDeniedAccess, PeerAnswerInvalid, FileUnusable, and PeerRejectedObject where the peer turns us away or takes
        nothing at all.
        """
        if isinstance(address, WebAddress):
            self._ask_service(address, credentials)
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

    def _ask_service(self, address: WebAddress, credentials: Path | None) -> None:
        """Send a STOW-RS request (PS3.18 10.5) without any instance: whatever a service says of that, it is there."""
        body = f"--{_BOUNDARY}--\r\n".encode()
        headers = {
            "Accept": "application/dicom+json",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}',
        }
        if credentials is not None:
            headers["Authorization"] = read_credentials(credentials).authorization
        request = HttpRequest("POST", f"{address.path}/studies", headers, [body], len(body))
        seconds = self.timeouts.associate_seconds
        connection = connected(
            address, connect_seconds=self.timeouts.connect_seconds, handshake_seconds=seconds, tls=self.tls
        )
        with contextlib.closing(connection):
            deadline = Deadline(seconds)
            answer = exchange(connection, address, request, deadline=deadline, most_bytes=_MOST_ANSWER_BYTES)
        _require_service(address, answer.status)


def _require_service(address: WebAddress, status: int) -> None:
    if status in _CLOSED:
        raise PeerDeniedAccess(f"{address} answers HTTP {status}: it wants other credentials (--credentials FILE)")
    if status in _NOT_THERE:
        raise PeerRejectedObject(
            f"{address} answers HTTP {status}: nothing takes objects at {address.path or '/'}/studies; check the path"
        )
    if status in _GONE:
        raise PeerUnreachable(f"{address} answers HTTP {status}: the service behind it does not run")
