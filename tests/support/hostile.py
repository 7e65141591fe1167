"""Connections of a peer that means harm, from an address of its own, and what it does with many of them at once."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Self

from tests.support.pdus import ASSOCIATE_AC, COMMAND, LAST, association_request, fragment, p_data, store_command

HOSTILE_ADDRESS = "127.0.0.66"
_LOOPBACK = "127.0.0.1"
_SECONDS = 30.0
_FRAGMENT_BYTES = 100_000
_ABORT_LINGER = struct.pack("ii", 1, 0)


class Hostile:
    """One connection; nothing is kept within the rules, and what the gateway cut is no error."""

    def __init__(self, port: int, *, address: str = HOSTILE_ADDRESS) -> None:
        self.socket = socket.create_connection((_LOOPBACK, port), timeout=_SECONDS, source_address=(address, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, content: bytes) -> bool:
        """Send bytes, and say whether they could be sent."""
        try:
            self.socket.sendall(content)
        except OSError:
            return False
        return True

    def associate(self, request: bytes | None = None) -> bool:
        """Ask for an association, and say whether it was accepted."""
        self.send(association_request() if request is None else request)
        return self.read_kind() == ASSOCIATE_AC

    def store(self, sop_instance_uid: str, data_set: bytes) -> int | None:
        """Send a C-STORE request over context 1 and return the status of the answer; None where it was cut."""
        self.send(p_data(fragment(1, COMMAND | LAST, store_command(sop_instance_uid))))
        for at in range(0, max(len(data_set), 1), _FRAGMENT_BYTES):
            last = LAST if at + _FRAGMENT_BYTES >= len(data_set) else 0
            if not self.send(p_data(fragment(1, last, data_set[at : at + _FRAGMENT_BYTES]))):
                return None
        return self.status()

    def status(self) -> int | None:
        """Read an answer and return its status; None where the association was cut."""
        answer = self.read_pdu()
        mark = struct.pack("<HHL", 0x0000, 0x0900, 2)
        if answer is None or mark not in answer[1]:
            return None
        return int(struct.unpack_from("<H", answer[1], answer[1].index(mark) + 8)[0])

    def read_kind(self) -> int | None:
        """Read one PDU and return its type; None where the gateway closed."""
        answer = self.read_pdu()
        return None if answer is None else answer[0]

    def read_pdu(self) -> tuple[int, bytes] | None:
        """Read one PDU, its type and its body; None where the gateway closed; TimeoutError where it says nothing."""
        head = self._exactly(6)
        if head is None:
            return None
        kind, _, length = struct.unpack(">BBL", head)
        body = self._exactly(length)
        return None if body is None else (kind, body)

    def is_closed(self) -> bool:
        """Read to the end of the connection; TimeoutError where the gateway holds it open."""
        try:
            while self.socket.recv(65_536):
                pass
        except ConnectionError:
            pass
        return True

    def end(self) -> None:
        """Say that nothing more will be sent; what the gateway says can still be read."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a TCP reset instead of an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT_LINGER)
        self.socket.close()

    def _exactly(self, count: int) -> bytes | None:
        received = b""
        while len(received) < count:
            try:
                piece = self.socket.recv(min(count - len(received), 65_536))
            except ConnectionError:
                return None
            if not piece:
                return None
            received += piece
        return received


@contextlib.contextmanager
def connections(
    port: int, count: int, greeting: bytes = b"", *, address: str = HOSTILE_ADDRESS
) -> Iterator[list[Hostile]]:
    """Open so many connections, greet on each, and hold them open until the block ends."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(stack.enter_context(Hostile(port, address=address)))
            opened[-1].send(greeting)
        yield opened


def at_once(count: int, attack: Callable[[int], None]) -> None:
    """Run an attack in so many threads, each with its number, to the end; what one raises is raised."""
    faults: list[BaseException] = []

    def run(number: int) -> None:
        try:
            attack(number)
        except BaseException as error:  # noqa: BLE001 - raised again below, in the test's own thread
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
