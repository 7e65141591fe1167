"""A TLS peer whose records can be cut, dripped and held back: it hands out the bytes instead of sending them."""

from __future__ import annotations

import ssl
from typing import Self

from tests.support.hostile import Hostile

_READ_BYTES = 1 << 16


class RecordPeer:
    """A connection whose handshake and records are made in memory, and sent as a test wants."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        self.hostile = Hostile(port)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hostile.socket.close()

    def hello(self) -> bytes:
        """Return the bytes of our ClientHello, which are not sent yet."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        raise AssertionError("a handshake that needs no server")

    def finished(self) -> bytes:
        """Read the server's flight, and return the bytes that end the handshake on our side, which are not sent yet."""
        while True:
            self._incoming.write(self._received())
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
            return self._outgoing.read()

    def shake_hands(self) -> None:
        """Shake hands as an honest peer does."""
        self.hostile.send(self.hello())
        self.hostile.send(self.finished())

    def record(self, content: bytes) -> bytes:
        """Return content as records, which are not sent yet."""
        self._tls.write(content)
        return self._outgoing.read()

    def ask(self, content: bytes) -> bytes:
        """Send content in records of its own, and return what is answered first; nothing where the gateway closed."""
        self.hostile.send(self.record(content))
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._incoming.write(self._received())
            except ssl.SSLEOFError:
                return b""

    def _received(self) -> bytes:
        received = self.hostile.socket.recv(_READ_BYTES)
        if not received:
            raise ConnectionError("the gateway closed the connection")
        return received
