"""Requests to a FHIR server: with the channel's credentials, bounded in time and size."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TypeVar

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.resource import Resource

from dicom_gateway.announcing.announcement import Answer, Channel, Verdict
from dicom_gateway.announcing.fhir_answer import judged, read
from dicom_gateway.announcing.fhir_values import Identity
from dicom_gateway.announcing.options import FhirOptions
from dicom_gateway.destinations import WebAddress
from dicom_gateway.errors import GatewayError
from dicom_gateway.http_exchange import Deadline, HttpAnswer, HttpRequest, exchange
from dicom_gateway.sending.credentials import authorization
from dicom_gateway.tls.connecting import connected
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.database import utc_now

_CONTENT_TYPE = "application/fhir+json"
_MOST_ANSWER_BYTES = 4 << 20
_NOTHING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_Read = TypeVar("_Read", bound=Resource)


class ServiceDeclined(GatewayError):
    """A FHIR server does not let us read what it holds; ``answer`` is what that means for the announcement."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


@dataclass(slots=True)
class FhirService:
    """One server. Each request has ``seconds`` for its connection and as many for its answer.

    ``was_written_to`` says that something may have come to it that it was to keep.
    """

    address: WebAddress
    seconds: float
    headers: Mapping[str, str] = field(repr=False)
    tls: DestinationTls | None
    was_written_to: bool = False

    @classmethod
    def of(cls, channel: Channel, tls: DestinationTls | None) -> FhirService:
        """Return the server of a channel; ConfigurationError where its address or credentials are none."""
        known = {} if not channel.secret else {"Authorization": authorization(channel.secret)}
        return cls(WebAddress.parse(channel.address), channel.seconds, {"Accept": _CONTENT_TYPE, **known}, tls)

    def get(self, path: str) -> HttpAnswer:
        """Ask for what stands at a path behind the base."""
        return self._asked("GET", path)

    def write(self, method: str, path: str, resource: Resource, *, version: str | None = None) -> HttpAnswer:
        """Send a resource; ``version`` is the one that it takes the place of (If-Match)."""
        body = resource.model_dump_json().encode()
        match = {} if version is None else {"If-Match": version}
        return self._asked("PUT" if method == "PUT" else "POST", path, body, {"Content-Type": _CONTENT_TYPE, **match})

    def present(self, kind: type[_Read], identity: Identity, options: FhirOptions) -> _Read | None:
        """Return a resource as the server has it now, None where it has none.

        ServiceDeclined where it does not say, another GatewayError where it cannot be asked or says something else.
        """
        answer = self.get(f"{identity.type}/{identity.id}" if options.use_put else identity.query())
        if options.use_put and answer.status in _NOTHING:
            return None
        verdict = judged(answer, now=utc_now())
        if verdict.verdict is not Verdict.TAKEN:
            raise ServiceDeclined(verdict)
        if options.use_put:
            return read(kind, answer.body)
        found = (entry.resource for entry in read(Bundle, answer.body).entry or ())
        return next((one for one in found if isinstance(one, kind)), None)

    def _asked(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> HttpAnswer:
        whole = f"{self.address.path}/{path}" if path else self.address.path or "/"
        request = HttpRequest(method, whole, {**self.headers, **(headers or {})}, [body] if body else [], len(body))
        connection = connected(self.address, connect_seconds=self.seconds, handshake_seconds=self.seconds, tls=self.tls)
        self.was_written_to = self.was_written_to or bool(body)
        with contextlib.closing(connection):
            deadline = Deadline(self.seconds)
            return exchange(connection, self.address, request, deadline=deadline, most_bytes=_MOST_ANSWER_BYTES)
