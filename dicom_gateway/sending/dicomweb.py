"""STOW-RS user agent: objects to a DICOMweb service, and what it answered to each instance (PS3.18 10.5)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import structlog

from dicom_gateway.errors import (
    GatewayError,
    PeerAnswerInvalid,
    PeerDeniedAccess,
    PeerUnreachable,
    PeerUntrusted,
    UndecodableObject,
)
from dicom_gateway.http_exchange import Deadline, HttpAnswer, HttpRequest, ServiceTooSlow, WebService, exchange
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.credentials import read_credentials
from dicom_gateway.sending.limits import Pace, SendLimits
from dicom_gateway.sending.outcomes import Report, SendOutcome, failed
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.sending.storing import unwanted
from dicom_gateway.sending.stow_request import PartUnreadable, StowPart, StowRequest, make_part
from dicom_gateway.sending.stow_verdicts import Refusal, Verdict, judge
from dicom_gateway.tls.connecting import connected
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.errors import ConfigurationError

_MOST_REQUEST_BYTES = 24 << 20
"""Servers and proxies often end requests of 30 MB; a larger object travels alone."""
_MOST_OBJECTS = 100
_MOST_ANSWER_BYTES = 4 << 20
_SLOWEST_BYTES_PER_SECOND = 8 << 10
_SECONDS_AN_OBJECT = 5.0
_BARREN_REQUESTS = 10
"""So many failures in a row find the one bad object among a hundred; after that the service is given up."""

logger = structlog.get_logger(__name__)


def store(
    objects: Sequence[Outgoing],
    address: WebService,
    *,
    credentials: Path | None = None,
    tls: DestinationTls | None = None,
    timeouts: PeerTimeouts | None = None,
    limits: SendLimits | None = None,
    pace: Pace | None = None,
    on_outcome: Report | None = None,
) -> tuple[SendOutcome, ...]:
    """Send objects by STOW-RS and return one outcome for each, in order; nothing is raised for a peer's fault.

    A request holds at most 24 MiB and 100 objects, or what the limits say; the service has ``answer_seconds`` for it,
    and up to 5 more for each object behind the first. ``status`` of an outcome is the failure or warning reason of the
    answer, 0 for neither. ``credentials`` is a file as of ``read_credentials``, read at each call. ``pace`` is that of
    the destination where others send to it at the same time.
    """
    limits = limits or SendLimits()
    outcomes: list[SendOutcome] = []
    try:
        authorization = {} if credentials is None else _authorization(credentials)
        denied = None
    except ConfigurationError as error:
        authorization, denied = {}, PeerDeniedAccess(f"{address}: {error}")
    pace = pace or Pace(limits.kilobytes_per_second)
    calling = _Calling(address, authorization, tls, timeouts or PeerTimeouts(), pace)
    for outcome in _Upload(calling, limits, denied).outcomes(objects):
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return tuple(outcomes)


def _authorization(path: Path) -> dict[str, str]:
    """Return the header that says who asks; FileUnusable."""
    found = read_credentials(path)
    if found.is_exposed:
        logger.warning("dicomweb.credentials_exposed", code="credentials_exposed", path=str(path), remedy="chmod 600")
    return {"Authorization": found.authorization}


@dataclass(frozen=True, slots=True)
class _Calling:
    """How a service is called: with which credentials and certificates, how patiently, at which pace."""

    service: WebService
    authorization: Mapping[str, str] = field(repr=False)
    tls: DestinationTls | None
    timeouts: PeerTimeouts
    pace: Pace

    def ask(self, parts: Sequence[StowPart]) -> Verdict:
        """Send one request, and return what its answer means; PartUnreadable."""
        try:
            connection = connected(
                self.service,
                connect_seconds=self.timeouts.connect_seconds,
                handshake_seconds=self.timeouts.associate_seconds,
                tls=self.tls,
            )
        except GatewayError as error:
            return Refusal(error, is_of_an_object=False, was_offered=False)
        try:
            with contextlib.closing(connection):
                answer = self._exchanged(connection, StowRequest(parts), objects=len(parts))
        except (ServiceTooSlow, PeerUntrusted, PeerAnswerInvalid) as error:
            return Refusal(error, is_of_an_object=False)
        except PeerUnreachable as error:
            return Refusal(error, is_of_an_object=True)
        return judge(answer, [part.outgoing for part in parts], self.service)

    def _exchanged(self, connection: socket, body: StowRequest, *, objects: int) -> HttpAnswer:
        answer_seconds = self.timeouts.answer_seconds
        seconds = answer_seconds + (objects - 1) * min(answer_seconds, _SECONDS_AN_OBJECT)
        deadline = Deadline(seconds + body.length / _SLOWEST_BYTES_PER_SECOND)
        request = HttpRequest(
            "POST",
            f"{self.service.path}/studies",
            {"Content-Type": body.content_type, "Accept": "application/dicom+json", **self.authorization},
            self._paced(body, deadline),
            body.length,
        )
        return exchange(connection, self.service, request, deadline=deadline, most_bytes=_MOST_ANSWER_BYTES)

    def _paced(self, body: StowRequest, deadline: Deadline) -> Iterator[memoryview]:
        for piece in body.pieces():
            for part in self.pace.pieces(memoryview(piece)):
                deadline.extend(self.pace.wait(len(part)))
                yield part


@dataclass(slots=True)
class _Upload:
    """Objects on their way to one service, request by request, until it is given up."""

    calling: _Calling
    limits: SendLimits
    _given_up: GatewayError | None
    _barren: int = 0

    def outcomes(self, objects: Sequence[Outgoing]) -> Iterator[SendOutcome]:
        """Yield what became of each object, in order."""
        batch: list[StowPart] = []
        for outgoing in objects:
            part = self._part(outgoing)
            if isinstance(part, GatewayError) or not self._has_room(batch, part):
                yield from self._sent(batch)
                batch = []
            if isinstance(part, GatewayError):
                yield failed(outgoing, part)
            else:
                batch.append(part)
        yield from self._sent(batch)

    def _part(self, outgoing: Outgoing) -> StowPart | GatewayError:
        wanted = self.limits.transfer_syntaxes
        if not outgoing.travels_as(wanted):
            return unwanted(outgoing, self.calling.service)
        try:
            return make_part(outgoing, wanted)
        except UndecodableObject as error:
            return error

    def _has_room(self, batch: Sequence[StowPart], part: StowPart) -> bool:
        most = min(self.limits.objects_per_association or _MOST_OBJECTS, _MOST_OBJECTS)
        return len(batch) < most and sum(one.size for one in batch) + part.size <= _MOST_REQUEST_BYTES

    def _sent(self, batch: Sequence[StowPart]) -> Iterator[SendOutcome]:
        """Send a batch; where that fails and one of several may be the reason, its halves."""
        if not batch:
            return
        if self._given_up is not None:
            yield from (failed(part.outgoing, self._given_up, was_offered=False) for part in batch)
            return
        try:
            verdict = self.calling.ask(batch)
        except PartUnreadable as error:
            yield from self._sent_without(batch, error)
            return
        if isinstance(verdict, Refusal):
            yield from self._refused(batch, verdict)
            return
        self._barren = 0
        for part, outcome in zip(batch, verdict, strict=True):
            if outcome is not None:
                yield outcome
            else:
                yield from self._sent([part])

    def _sent_without(self, batch: Sequence[StowPart], error: PartUnreadable) -> Iterator[SendOutcome]:
        at = next(number for number, part in enumerate(batch) if part.outgoing is error.outgoing)
        yield from self._sent(batch[:at])
        yield failed(error.outgoing, error)
        yield from self._sent(batch[at + 1 :])

    def _refused(self, batch: Sequence[StowPart], refusal: Refusal) -> Iterator[SendOutcome]:
        """Halve what was refused over one of its objects, or give the service up."""
        error = refusal.error
        if refusal.is_of_an_object and len(batch) == 1 and not error.retryable:
            self._barren = 0
        else:
            self._barren += 1
        if self._barren >= _BARREN_REQUESTS:
            self._given_up = PeerUnreachable(f"{_BARREN_REQUESTS} requests in a row failed, the last one since {error}")
        elif not refusal.is_of_an_object:
            self._given_up = error
        elif len(batch) > 1:
            middle = len(batch) // 2
            yield from self._sent(batch[:middle])
            yield from self._sent(batch[middle:])
            return
        cause = error if len(batch) == 1 or self._given_up is None else self._given_up
        yield from (failed(part.outgoing, cause, was_offered=refusal.was_offered) for part in batch)
