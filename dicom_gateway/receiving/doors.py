"""Bound sockets and the loops that accept from them; nothing that a peer does can hold one up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

import structlog

from dicom_gateway.tls.doors import Door

_WAITING_CONNECTIONS = 256
_SHORTAGE_SECONDS = 0.1

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A connection that was just accepted."""

    connection: socket.socket
    address: str
    door: Door


class OpenDoor:
    """A door that is bound, and after ``start`` accepts. OSError where it cannot be bound."""

    def __init__(self, door: Door, on_arrival: Callable[[Arrival], None], *, is_shared: bool) -> None:
        """``is_shared`` lets other processes of ours bind the same port; the kernel spreads connections over them."""
        self._door = door
        self._on_arrival = on_arrival
        self._closing = threading.Event()
        self._listening = _bound(door, is_shared=is_shared)
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, name=f"listener-{self.port}", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def close(self) -> None:
        """Stop accepting and close the port."""
        self._closing.set()
        # Wakes the accept loop, which would not notice that the descriptor is closed.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, address = self._listening.accept()
            except OSError as error:
                if not self._closing.is_set():
                    # Of descriptors or memory, for example. The connections wait in the kernel's queue meanwhile.
                    logger.warning("listener.short_of_resources", code="accept_failed", reason=error.strerror)
                    self._closing.wait(_SHORTAGE_SECONDS)
                continue
            self._hand_over(Arrival(connection, _plain(str(address[0])), self._door))

    def _hand_over(self, arrival: Arrival) -> None:
        try:
            self._on_arrival(arrival)
        except Exception:  # edge: one connection that cannot be served must not end the accept loop
            logger.exception("connection.failed", code="unexpected_error", address=arrival.address)
            arrival.connection.close()


def _bound(door: Door, *, is_shared: bool) -> socket.socket:
    found = socket.getaddrinfo(door.host, door.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if is_shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(address)
        listening.listen(_WAITING_CONNECTIONS)
    except OSError:
        listening.close()
        raise
    return listening


def _plain(address: str) -> str:
    """Return an IPv4 address that came in through an IPv6 socket as IPv4, so that networks and records know it."""
    parsed = ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped) if mapped else address
