"""A peer that a gateway knows, which asks again and again whether it is there, each time over a new association.

It is a process of its own, so that what it measures is the gateway's time and not that of the test which attacks it:
``python -m tests.support.known_peer PORT [CA CERTIFICATE KEY]``. It prints one line for each try: the seconds, or what
went wrong.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.pdus import (
    ASSOCIATE_AC,
    COMMAND,
    IMPLICIT,
    LAST,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    association_request,
    context,
    echo_command,
    fragment,
    p_data,
    pdu,
)

_LONGEST_ECHO_SECONDS = 20.0
_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0
_LOOPBACK = "127.0.0.1"
_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass
class KnownPeer:
    """What the peer was answered so far: seconds of each C-ECHO with its association, and what failed."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def asks(self, times: int = 5) -> None:
        """Wait until it has asked so many times more, answered or not."""
        with self.changed:
            wanted = self._tries() + times
            if not self.changed.wait_for(lambda: self._tries() >= wanted, timeout=_PATIENCE_SECONDS):
                pytest.fail(f"the known peer could not ask {times} times within {_PATIENCE_SECONDS:.0f} s")

    def _tries(self) -> int:
        return len(self.seconds) + len(self.failures)

    def take(self, line: str) -> None:
        """Note what one line of the process says."""
        with self.changed:
            try:
                self.seconds.append(float(line))
            except ValueError:
                self.failures.append(line.strip())
            self.changed.notify_all()


@contextlib.contextmanager
def known_peer(port: int, *, secured: Sequence[Path] = ()) -> Iterator[KnownPeer]:
    """Run a known peer until the block ends; the block begins when it has asked once.

    ``secured`` are its authority, certificate and key (PEM), where it asks over TLS.
    """
    peer = KnownPeer()
    command = [sys.executable, "-m", "tests.support.known_peer", str(port), *map(str, secured)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=_read, args=(process, peer), daemon=True)
        reader.start()
        try:
            peer.asks(1)
            yield peer
        finally:
            process.kill()
            reader.join()


def _read(process: subprocess.Popen[str], peer: KnownPeer) -> None:
    for line in process.stdout or ():
        if line.endswith("\n"):  # the last one is cut where the process was killed
            peer.take(line)


def verify(port: int, *, tls: ssl.SSLContext | None = None) -> None:
    """Ask once over a new association; OSError where there is no answer, ConnectionError where it is another one."""
    with (
        socket.create_connection((_LOOPBACK, port), timeout=_LONGEST_ECHO_SECONDS) as plain,
        _secured(plain, tls) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        proposal = [context(1, VERIFICATION, (IMPLICIT,))]
        connection.sendall(association_request(proposal, calling_aet="MODALITY"))
        _expect(connection, ASSOCIATE_AC)
        connection.sendall(p_data(fragment(1, COMMAND | LAST, echo_command())))
        answer = _expect(connection, P_DATA)
        if struct.pack("<HHLH", 0x0000, 0x0900, 2, 0x0000) not in answer:
            raise ConnectionError("the answer is not a success")
        connection.sendall(pdu(RELEASE_RQ, bytes(4)))
        _expect(connection, RELEASE_RP)


def _secured(connection: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    return connection if tls is None else tls.wrap_socket(connection, server_hostname=_LOOPBACK)


def client_context(authority: Path, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return what a TLS client needs that trusts one authority, and may show a certificate."""
    tls = ssl.create_default_context(cafile=authority)
    if certificate is not None:
        tls.load_cert_chain(certificate, key)
    return tls


def _expect(connection: socket.socket, kind: int) -> bytes:
    found, _, length = struct.unpack(">BBL", _exactly(connection, 6))
    body = _exactly(connection, length)
    if found != kind:
        raise ConnectionError(f"PDU {found} {body[:4].hex()} instead of {kind}")
    return body


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        piece = connection.recv(count - len(received))
        if not piece:
            raise ConnectionError("the gateway closed the connection")
        received += piece
    return received


def main(port: int, secured: Sequence[Path]) -> None:
    """Ask until killed."""
    tls = client_context(*secured) if secured else None
    pause = threading.Event()
    while True:
        began = time.monotonic()
        try:
            verify(port, tls=tls)
        except OSError as error:
            sys.stdout.write(f"{type(error).__name__}: {error}\n")
        else:
            sys.stdout.write(f"{time.monotonic() - began:.4f}\n")
        sys.stdout.flush()
        pause.wait(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
