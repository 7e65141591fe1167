"""Announcements as signed HTTP requests: a POST of JSON for each group, whose answer's status says what became of it.

The signature is an HMAC (RFC 2104) with SHA-256 over the moment and the body, so that a receiver can tell who sent what
and that it is not an old request sent again by somebody else.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from socket import socket

from dicom_gateway.announcing import own_network
from dicom_gateway.announcing.announcement import TAKEN, Announcement, Answer, Channel, Verdict
from dicom_gateway.announcing.options import WebhookOptions
from dicom_gateway.announcing.receiver_address import ReceiverAddress, read_address
from dicom_gateway.announcing.retry_after import retry_after
from dicom_gateway.announcing.webhook_body import webhook_body
from dicom_gateway.http_exchange import Deadline, HttpAnswer, HttpRequest, exchange
from dicom_gateway.objects.equipment import installed_version
from dicom_gateway.tls.connecting import secured
from dicom_gateway.tls.destination_handshake import DestinationTls
from storage.announcing.tables import ChannelKind
from storage.database import utc_now
from storage.errors import ChannelInvalid, OncueError

_LATER = frozenset({408, 425, 429})
"""Client errors that time may mend (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4); others repeat."""
_OK, _REDIRECTION, _CLIENT_ERROR, _SERVER_ERROR = 200, 300, 400, 500
_SHORTEST_SECRET = 16
_MOST_SECRETS = 2


@dataclass(frozen=True, slots=True)
class WebhookSender:
    """Brings groups of announcements to webhooks; ``tls`` is how certificates are verified."""

    tls: DestinationTls | None = None
    clock: Callable[[], datetime] = utc_now

    def send(self, channel: Channel, announcements: Sequence[Announcement], group_key: str) -> Answer:
        """Send a group in one signed request.

        2xx: taken, whatever stands in the answer, which is not read. 408, 425, 429 and 5xx: failed. All else is
        refused, redirections among it: where results of patients go is for people to say. What keeps a request from
        being made, such as a certificate or an address in the own network, is failed: it goes when that is put right.
        """
        try:
            address = read_address(ChannelKind.WEBHOOK, channel.address)
            request = self._request(channel, address, announcements, group_key)
            connection = self._connected(channel, address)
        except OncueError as error:
            return Answer(Verdict.FAILED, error.code, str(error), reached=False)
        try:
            with contextlib.closing(connection):
                answer = exchange(connection, address, request, deadline=Deadline(channel.seconds), most_bytes=0)
        except OncueError as error:
            return Answer(Verdict.FAILED, error.code, str(error))
        return _judged(answer, now=self.clock())

    def probe(self, channel: Channel) -> Answer:
        """Send a signed request of the kind ``trial``, which has no announcement."""
        return self.send(channel, (), f"trial-{int(self.clock().timestamp())}")

    def _request(
        self, channel: Channel, address: ReceiverAddress, announcements: Sequence[Announcement], group_key: str
    ) -> HttpRequest:
        _require_secure(channel, address)
        body = webhook_body(channel, announcements, group_key)
        headers = _headers(channel, body, group_key, timestamp=int(self.clock().timestamp()))
        return HttpRequest("POST", address.path, headers, (body,), len(body))

    def _connected(self, channel: Channel, address: ReceiverAddress) -> socket:
        connection = own_network.connect(
            address.host, address.port, private_network=channel.private_network, seconds=channel.seconds
        )
        return secured(connection, address, handshake_seconds=channel.seconds, tls=self.tls)


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return one signature of a request: ``v1=`` and the HMAC of ``TIMESTAMP.BODY`` in hexadecimal."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode("ascii") + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


def secrets_of(text: str | None) -> tuple[str, ...]:
    """Return the secrets of a file of credentials: a line, or two while one takes the place of the other.

    ChannelInvalid where there is none, there are more, or one has fewer than 16 characters.
    """
    lines = tuple(line.strip() for line in (text or "").splitlines() if line.strip())
    if not 1 <= len(lines) <= _MOST_SECRETS or any(len(line) < _SHORTEST_SECRET for line in lines):
        raise ChannelInvalid(
            f"a webhook is signed: its file of credentials holds a secret of at least {_SHORTEST_SECRET} characters in "
            "one line, and in a second one that it is replaced by; make one with `openssl rand -hex 32`"
        )
    return lines


def _headers(channel: Channel, body: bytes, group_key: str, *, timestamp: int) -> Mapping[str, str]:
    options = channel.options if isinstance(channel.options, WebhookOptions) else WebhookOptions()
    signatures = (signature(secret, timestamp, body) for secret in secrets_of(channel.secret))
    return {
        "Content-Type": "application/json",
        "User-Agent": f"oncue/{installed_version()}",
        "Idempotency-Key": group_key,
        "Oncue-Timestamp": str(timestamp),
        options.header_name: ", ".join(signatures),
    }


def _require_secure(channel: Channel, address: ReceiverAddress) -> None:
    """See that nothing travels in clear through a network that is not the site's, and of patients through none."""
    if address.tls or address.is_here:
        return
    if channel.patient_data:
        raise ChannelInvalid(f"{address} would be told of patients so that anybody on the way can read it: use https")
    if not channel.private_network:
        raise ChannelInvalid(f"{address} is not by TLS: use https; http is for receivers in the own network")


def _judged(answer: HttpAnswer, *, now: datetime) -> Answer:
    """Return what a status means."""
    status, code = answer.status, f"http_{answer.status}"
    if _OK <= status < _REDIRECTION:
        return TAKEN
    if status in _LATER or status >= _SERVER_ERROR:
        pause = retry_after(answer, now=now)
        asked = "" if pause is None else f" and asks to be left alone for {pause:.0f} s"
        return Answer(Verdict.FAILED, code, f"the receiver answers with status {status}{asked}", pause)
    if _REDIRECTION <= status < _CLIENT_ERROR:
        told = f"the receiver points to another address by status {status}, which is not followed: change the address"
        return Answer(Verdict.REFUSED, code, told)
    if status < _OK:
        return Answer(Verdict.FAILED, code, f"the receiver answers with status {status}, which ends no request")
    return Answer(Verdict.REFUSED, code, f"the receiver refuses the request with status {status}")
