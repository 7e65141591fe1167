"""TLS over a socket that stays ours, so that a connection that was reset is told from one that ended in order.

Python's own secured socket reports both as the same error once it has nothing left to read.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

_MOST_BYTES = 65536


class TlsChannel:
    """Speaks TLS as a client over a connected socket; whoever made the socket closes it.

    What goes wrong on the socket is raised as it is, what goes wrong in TLS as ssl.SSLError.
    """

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, *, host: str) -> None:
        self._connection = connection
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self) -> None:
        """Agree on keys, and verify the peer's certificate."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionResetError(None, "it ended the connection during the TLS handshake") from None
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self._flush()  # the alert that tells the peer why
                raise
            else:
                self._flush()
                return

    def send_all(self, data: bytes) -> None:
        """Send bytes, all of them."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._tls.write(rest[:_MOST_BYTES]) :]
            self._flush()

    def end(self) -> None:
        """Say that nothing follows (close_notify, RFC 5425 4.4), and wait until the peer has ended in order."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()
        self._connection.shutdown(socket.SHUT_WR)
        while self._receive():
            self._listen()

    def _listen(self) -> None:
        """Take in what the peer says beside data: session tickets, its close_notify, alerts, which raise."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while self._tls.read(_MOST_BYTES):
                pass

    def _flush(self) -> None:
        self._connection.sendall(self._outgoing.read())

    def _receive(self) -> bool:
        """Take in what the peer sent; False where it has ended."""
        data = self._connection.recv(_MOST_BYTES)
        self._incoming.write(data)
        return bool(data)
