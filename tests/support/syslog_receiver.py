"""A syslog server for tests: it takes frames over TLS or TCP (RFC 5425, RFC 6587), and keeps what it got."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from tests.support.certificates import Issued

_PATIENCE_SECONDS = 20.0
_MESSAGE = re.compile(
    rb"<(?P<priority>\d+)>1 (?P<at>\S+) (?P<host>\S+) (?P<application>\S+) (?P<process>\S+) (?P<id>\S+) - "
    rb"\xef\xbb\xbf(?P<text>.*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Received:
    """One syslog message, taken apart."""

    priority: int
    message_id: str
    application: str
    text: str

    @classmethod
    def parse(cls, message: bytes) -> Received:
        found = _MESSAGE.fullmatch(message)
        assert found is not None, message[:200]
        return cls(
            int(found["priority"]), found["id"].decode(), found["application"].decode(), found["text"].decode("utf-8")
        )


class SyslogReceiver:
    """Listens until it is closed. ``keeps`` is how many messages it reads before it dies with the rest unread."""

    def __init__(
        self,
        *,
        port: int = 0,
        identity: Issued | None = None,
        client_ca: Path | None = None,
        keeps: int | None = None,
    ) -> None:
        self.messages: SimpleQueue[Received] = SimpleQueue()
        self._keeps = keeps
        self._context = _server_context(identity, client_ca) if identity is not None else None
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(_PATIENCE_SECONDS)

    def next(self) -> Received:
        """Return the next message, once it is there."""
        try:
            return self.messages.get(timeout=_PATIENCE_SECONDS)
        except Empty:
            pytest.fail(f"no syslog message within {_PATIENCE_SECONDS:.0f} s")

    def all_so_far(self) -> list[Received]:
        """Return what was received and not taken out yet."""
        found = []
        while not self.messages.empty():
            found.append(self.messages.get())
        return found

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            with plain, contextlib.suppress(OSError):
                if self._context is None:
                    self._receive(plain)
                    continue
                with self._context.wrap_socket(plain, server_side=True) as secured:
                    self._receive(secured)

    def _receive(self, connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE_SECONDS)
        while (length := _length(connection)) is not None:
            self.messages.put(Received.parse(_exactly(connection, length)))
            if self._keeps is not None:
                self._keeps -= 1
                if self._keeps == 0:
                    self._listening.close()
                    return
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()


@contextlib.contextmanager
def syslog_receiver(
    *, port: int = 0, identity: Issued | None = None, client_ca: Path | None = None, keeps: int | None = None
) -> Iterator[SyslogReceiver]:
    """Run a receiver until the block ends."""
    receiver = SyslogReceiver(port=port, identity=identity, client_ca=client_ca, keeps=keeps)
    try:
        yield receiver
    finally:
        receiver.close()


def _server_context(identity: Issued, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _length(connection: socket.socket) -> int | None:
    """Read a frame's length and the space behind it; None where the stream ended before."""
    digits = b""
    while byte := connection.recv(1):
        if byte == b" ":
            return int(digits)
        digits += byte
    assert digits == b""
    return None


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(length - len(found))
        assert part, "the stream ended within a frame"
        found += part
    return found
