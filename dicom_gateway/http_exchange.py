"""One HTTP request to a service and its answer, streamed out and bounded in time and size; no redirect is followed.

Client libraries bound each single wait, and a service that drips never lets one end; here one deadline ends them all.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, IncompleteRead
from typing import Protocol

from dicom_gateway.errors import GatewayError, PeerAnswerInvalid, PeerUnreachable
from dicom_gateway.tls.destination_handshake import untrusted

_STALLED_SECONDS = 30.0
"""A service that takes nothing of a request for so long is asked whether it has answered already."""
_EARLY_ANSWER_SECONDS = 2.0
_STATUS_AT = len("HTTP/1.1 ")


class ServiceTooSlow(PeerUnreachable):
    """A service did not end its answer in time."""


class WebService(Protocol):
    """Where an HTTP service is; as text it is its address."""

    @property
    def host(self) -> str:
        """Name or IP address, an IPv6 one without brackets."""
        ...

    @property
    def port(self) -> int:
        """The port, also where it is the usual one."""
        ...

    @property
    def path(self) -> str:
        """What stands before the paths of its resources, without a slash at the end."""
        ...

    @property
    def tls(self) -> bool:
        """Whether it is spoken to by HTTPS."""
        ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request; ``body`` yields ``length`` bytes in pieces."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Iterable[bytes | memoryview] = ()
    length: int = 0


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """The status and the whole body of an answer, and its header by names in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer whose body has not been read: ``read`` returns up to so many bytes of it, none at its end."""

    status: int
    headers: Mapping[str, str]
    read: Callable[[int], bytes]


class Deadline:
    """When an exchange is given up, whatever it waits for; what we hold back ourselves does not count."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds
        self.is_late = False

    @property
    def left_seconds(self) -> float:
        """How long it is until then, 0 where it has passed."""
        return max(self._at - time.monotonic(), 0.0)

    def extend(self, seconds: float) -> None:
        """Move it so many seconds."""
        self._at += seconds

    @contextlib.contextmanager
    def ending(self, connection: socket.socket) -> Iterator[None]:
        """End a connection when the deadline passes: a service that drips keeps every single wait short.

        One connection after another may be under the same deadline.
        """
        is_over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(connection, is_over), name="http-deadline", daemon=True)
        watch.start()
        try:
            yield
        finally:
            is_over.set()
            watch.join()

    def _watch(self, connection: socket.socket, is_over: threading.Event) -> None:
        while not is_over.wait(self.left_seconds):
            if time.monotonic() >= self._at:
                self.is_late = True
                # Not the method of a TLS socket, which would drop its state under the thread that uses it.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
                return


def exchange(
    connection: socket.socket, service: WebService, request: HttpRequest, *, deadline: Deadline, most_bytes: int
) -> HttpAnswer:
    """Send a request and return the answer; a body of more than ``most_bytes`` is no answer, and with 0 none is read.

    PeerUnreachable where the connection ends or the deadline passes, PeerUntrusted where the service does not take our
    certificate, PeerAnswerInvalid where what comes is not HTTP. What the body raises goes through.
    """
    http = HTTPConnection(service.host, service.port)
    http.sock = connection
    connection.settimeout(_STALLED_SECONDS)
    try:
        with deadline.ending(connection):
            _send(http, connection, service, request)
            answer = _received(http.getresponse(), most_bytes)
    except (OSError, HTTPException) as error:
        raise (_late(service) if deadline.is_late else broken_off(service, error)) from error
    if deadline.is_late:
        raise _late(service)
    if len(answer.body) > most_bytes:
        raise PeerAnswerInvalid(f"{service} answers with more than {most_bytes >> 20} MiB")
    return answer


@contextlib.contextmanager
def streamed(
    connection: socket.socket, service: WebService, request: HttpRequest, *, deadline: Deadline, stalled_seconds: float
) -> Iterator[StreamedAnswer]:
    """Send a request and hand out an answer that is read piece by piece; errors as of ``exchange``.

    A service that sends nothing for ``stalled_seconds`` is given up.
    """
    http = HTTPConnection(service.host, service.port)
    http.sock = connection
    connection.settimeout(_STALLED_SECONDS)
    try:
        with deadline.ending(connection):
            _send(http, connection, service, request)
            connection.settimeout(stalled_seconds)
            response = http.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            yield StreamedAnswer(response.status, headers, response.read1)
    except (OSError, HTTPException) as error:
        raise (_late(service) if deadline.is_late else broken_off(service, error)) from error


def _send(http: HTTPConnection, connection: socket.socket, service: WebService, request: HttpRequest) -> None:
    """Send a request, or as much of it as is taken before the service answers."""
    usual = 443 if service.tls else 80
    host = f"[{service.host}]" if ":" in service.host else service.host
    http.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
    http.putheader("Host", host if service.port == usual else f"{host}:{service.port}")
    http.putheader("Connection", "close")
    if request.length or request.method == "POST":
        http.putheader("Content-Length", str(request.length))
    for name, value in request.headers.items():
        http.putheader(name, value)
    try:
        http.endheaders()
        for piece in request.body:
            connection.sendall(piece)
            if _has_answered(connection):
                return
    except OSError:
        # A service that refuses a request may say so and close before it has read it all.
        connection.settimeout(_EARLY_ANSWER_SECONDS)
    else:
        connection.settimeout(None)  # the deadline bounds the wait for the answer


def _has_answered(connection: socket.socket) -> bool:
    """Say whether bytes wait to be read; by TLS they need not be an answer."""
    if isinstance(connection, ssl.SSLSocket):
        return False
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    begin = connection.recv(_STATUS_AT + 1, socket.MSG_PEEK)
    return begin[_STATUS_AT:] != b"1"  # an interim answer, as 100 or 103, is followed by the real one


def _received(response: HTTPResponse, most_bytes: int) -> HttpAnswer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    if not most_bytes:
        return HttpAnswer(response.status, b"", headers)
    body = response.read(most_bytes + 1)
    if response.length and len(body) <= most_bytes:
        raise IncompleteRead(body)
    return HttpAnswer(response.status, body, headers)


def _late(service: WebService) -> PeerUnreachable:
    return ServiceTooSlow(f"{service} did not end its answer in time")


def broken_off(service: WebService, error: Exception) -> GatewayError:
    """Return what the failure of an exchange means; by TLS 1.3 our certificate is refused only at the first reading."""
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return untrusted(service, error)
    if isinstance(error, HTTPException) and not isinstance(error, ConnectionError):
        return PeerAnswerInvalid(f"{service} broke its answer off, or does not answer in HTTP")
    return PeerUnreachable(f"{service} broke the connection off")
