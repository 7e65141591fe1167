"""A DICOMweb service that answers STOW-RS requests as a test wants."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import io
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pydicom

Reason = int | None


@dataclass(frozen=True)
class Service:
    """Where a service is."""

    host: str
    port: int
    path: str = "/dicom-web"
    tls: bool = False

    def __str__(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}{self.path}"


@dataclass
class Request:
    """One request as it came: its header, and the data sets of its parts."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def parts(self) -> list[pydicom.FileDataset]:
        """The Part 10 files of the body, read by the standard library's parser of MIME messages."""
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + self.body)
        assert message.get_content_type() == "multipart/related"
        return [pydicom.dcmread(io.BytesIO(part.get_content())) for part in message.iter_parts()]

    @property
    def uids(self) -> list[str]:
        """The SOP Instance UIDs of the parts."""
        return [str(part.SOPInstanceUID) for part in self.parts]


Answer = Callable[[BaseHTTPRequestHandler, Request], None]


@dataclass
class StowService:
    """A running service, and the requests that it read whole."""

    address: Service
    requests: list[Request] = field(default_factory=list)


@contextlib.contextmanager
def stow_service(
    answer: Answer, *, reads_body: bool = True, says_continue: bool = False, tls: ssl.SSLContext | None = None
) -> Iterator[StowService]:
    """Run a service on loopback until the block ends.

    Without ``reads_body`` it answers before it has read that. ``says_continue`` has it send an interim answer that
    nobody asked for (RFC 9110 15.2.1).
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with contextlib.suppress(OSError):
                if says_continue:
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                length = int(self.headers["Content-Length"]) if reads_body else 0
                body = self.rfile.read(length)
                request = Request(self.path, dict(self.headers), body)
                if len(body) == length:
                    service.requests.append(request)
                    answer(self, request)
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = StowService(Service("127.0.0.1", server.server_port, tls=tls is not None))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()


def saying(status: int, body: bytes = b"", **headers: str) -> Answer:
    """Return what answers every request with a status and a body."""

    def answer(handler: BaseHTTPRequestHandler, _: Request) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def storing(
    reasons: Mapping[str, Reason] | None = None, *, warnings: Mapping[str, int] | None = None, status: int | None = None
) -> Answer:
    """Return what stores instances and says so of each (PS3.18 10.5.3), except those with a failure reason."""
    failing, warned = reasons or {}, warnings or {}

    def answer(handler: BaseHTTPRequestHandler, request: Request) -> None:
        failed = [(uid, failing[uid]) for uid in request.uids if uid in failing]
        stored = [(uid, warned.get(uid)) for uid in request.uids if uid not in failing]
        body = {"00081198": _sequence("00081197", failed), "00081199": _sequence("00081196", stored)}
        code = 200 if not failed and not warned else 202 if stored else 409
        saying(status or code, json.dumps(body).encode())(handler, request)

    return answer


def other_failures(*reasons: int) -> bytes:
    """Return the body of an answer that does not name the instances that failed."""
    items = [{"00081197": {"vr": "US", "Value": [reason]}} for reason in reasons]
    return json.dumps({"0008119A": {"vr": "SQ", "Value": items}}).encode()


def _sequence(tag: str, instances: Sequence[tuple[str, Reason]]) -> dict[str, Any]:
    items = []
    for uid, reason in instances:
        item: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
        if reason is not None:
            item[tag] = {"vr": "US", "Value": [reason]}
        items.append(item)
    return {"vr": "SQ", "Value": items}


def cutting_off(handler: BaseHTTPRequestHandler, _: Request) -> None:
    """Promise more of an answer than comes."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"00081199":')


def hanging_up(handler: BaseHTTPRequestHandler, _: Request) -> None:
    """Close the connection instead of an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def dripping(handler: BaseHTTPRequestHandler, _: Request) -> None:
    """Answer a byte at a time, without an end."""
    handler.send_response(200)
    handler.end_headers()
    pause = threading.Event()
    while not pause.wait(0.1):
        handler.wfile.write(b" ")
