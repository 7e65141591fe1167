"""A DICOMweb service that is asked by QIDO-RS (PS3.18 10.6): answers in the DICOM JSON model, within a time limit."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from dicom_gateway.destinations import WebAddress
from dicom_gateway.errors import (
    GatewayError,
    PeerAnswerInvalid,
    PeerDeniedAccess,
    PeerUnreachable,
    SourceAnswerInvalid,
    SourceRefused,
    SourceSilent,
    SourceTooSlow,
)
from dicom_gateway.http_exchange import Deadline, HttpAnswer, HttpRequest, ServiceTooSlow, exchange
from dicom_gateway.sending.credentials import read_credentials
from dicom_gateway.tls.connecting import connected
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.attributes import Attributes
from storage.errors import DataSetInvalid

NOTHING = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND})
"""How a service says that it holds nothing of what it is asked for."""
_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_GONE = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
_MOST_BYTES = 16 << 20
_CONNECT_SECONDS = 5.0
_HANDSHAKE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class WebClient:
    """A service at an address, with the file of our credentials there. Threads may share it."""

    address: WebAddress
    credentials: Path | None = None
    tls: DestinationTls | None = None

    def listed(
        self, path: str, parameters: Sequence[tuple[str, str]] = (), *, deadline: Deadline
    ) -> tuple[Attributes, ...]:
        """Return the answers to a question below the service's address.

        Raises SourceSilent, SourceTooSlow, SourceRefused, SourceAnswerInvalid, PeerDeniedAccess and PeerUntrusted.
        """
        answer = self._asked(
            f"{path}?{urlencode(parameters)}" if parameters else path, deadline, most_bytes=_MOST_BYTES
        )
        if answer.status in NOTHING:
            return ()
        if answer.status != HTTPStatus.OK:
            raise self.refusal(answer.status)
        try:
            items = json.loads(answer.body)
            if not isinstance(items, list):
                raise SourceAnswerInvalid(f"{self.address} does not answer with a list of data sets")
            return tuple(map(Attributes.of_json, items))
        except (ValueError, RecursionError, DataSetInvalid) as error:
            raise SourceAnswerInvalid(f"{self.address} does not answer in the DICOM JSON Model") from error

    def status(self, path: str, *, deadline: Deadline) -> int:
        """Return the HTTP status of the answer to a question; the answer itself, which may name patients, is not read.

        Raises SourceSilent, SourceTooSlow, SourceAnswerInvalid and PeerUntrusted.
        """
        return self._asked(path, deadline, most_bytes=0).status

    def connected(self, deadline: Deadline) -> socket.socket:
        """Connect, within the deadline; PeerUnreachable, PeerUntrusted."""
        left = max(deadline.left_seconds, 0.01)
        return connected(
            self.address,
            connect_seconds=min(_CONNECT_SECONDS, left),
            handshake_seconds=min(_HANDSHAKE_SECONDS, left),
            tls=self.tls,
        )

    def request(self, path: str, accept: str) -> HttpRequest:
        """Return a request for what is below the service's address, with our credentials."""
        known = {} if self.credentials is None else {"Authorization": read_credentials(self.credentials).authorization}
        return HttpRequest("GET", f"{self.address.path}{path}", {"Accept": accept, **known})

    def refusal(self, status: int) -> GatewayError:
        """Return what an HTTP status means that is no answer."""
        if status in _DENIED:
            return PeerDeniedAccess(f"{self.address} answers HTTP status {status}: check the credentials")
        if status in _GONE:
            return SourceSilent(f"{self.address} answers HTTP status {status}: the service behind it does not run")
        return SourceRefused(f"{self.address} answers HTTP status {status}")

    def _asked(self, path: str, deadline: Deadline, *, most_bytes: int) -> HttpAnswer:
        request = self.request(path, "application/dicom+json")
        with as_a_source(), contextlib.closing(self.connected(deadline)) as connection:
            return exchange(connection, self.address, request, deadline=deadline, most_bytes=most_bytes)


@contextlib.contextmanager
def as_a_source() -> Iterator[None]:
    """Raise what a failed exchange means for a source: errors of the same names, whichever way it is asked."""
    try:
        yield
    except ServiceTooSlow as error:
        raise SourceTooSlow(str(error)) from error
    except PeerUnreachable as error:
        raise SourceSilent(str(error)) from error
    except PeerAnswerInvalid as error:
        raise SourceAnswerInvalid(str(error)) from error
