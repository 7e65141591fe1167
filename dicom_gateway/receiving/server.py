"""A TCP server for associations that a silent, slow or lying peer cannot take hostage.

pynetdicom's own server starts an association, with two threads, for every connection; reads a PDU of whatever length
the peer claims; and waits for it without end. Here a connection becomes an association only when a complete
A-ASSOCIATE-RQ has arrived, connections that have not come so far are few and give way to newer ones, every PDU has a
length and a deadline, and everything slow (a TLS handshake, the first PDU) happens in the connection's own thread.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLSocket
from typing import Any, cast

import structlog
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from dicom_gateway.receiving.messages import BoundedMessages, MessageHooks
from dicom_gateway.tls.doors import Secure

_HEADER_BYTES = 6  # PDU type, reserved, length (PS3.8 9.3.1)
_ASSOCIATE_RQ = 0x01
_LARGEST_REQUEST_BYTES = 1 << 20
_PDU_SLACK_BYTES = 4096
_RECEIVE_BYTES = 1 << 16
_WAITING_CONNECTIONS = 256
_POLL_MILLISECONDS = 1
_ACCEPT_SECONDS = 5.0

logger = structlog.get_logger(__name__)


class ConnectionRefused(OSError):
    """A peer's bytes broke a bound; pynetdicom takes it for a lost connection. ``code`` says which bound."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one server: bytes, connections, seconds."""

    maximum_pdu_bytes: int
    maximum_half_open: int
    maximum_half_open_per_address: int
    request_seconds: float
    pdu_seconds: float
    send_seconds: float


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """What the server asks of its owner: may an address connect, where do messages go, and who is told of the end.

    ``secure`` makes a connection a TLS one; without it, it is taken as it comes.
    """

    limits: Limits
    accepts: Callable[[str], bool]
    messages: MessageHooks
    on_end: Callable[[Association], None]
    secure: Secure | None = None


class HalfOpen:
    """Connections without an association yet. Above a bound the oldest is closed: honest peers speak at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._waiting: OrderedDict[socket.socket, str] = OrderedDict()

    def add(self, connection: socket.socket, address: str) -> None:
        """Take a connection in, and close the oldest where there are too many, of this address or in all."""
        with self._lock:
            same = [other for other, where in self._waiting.items() if where == address]
            if len(same) >= self._limits.maximum_half_open_per_address:
                self._close(same[0])
            elif len(self._waiting) >= self._limits.maximum_half_open:
                self._close(next(iter(self._waiting)))
            self._waiting[connection] = address

    def remove(self, connection: socket.socket) -> None:
        """Let go of a connection that has asked for an association, or is closed."""
        with self._lock:
            self._waiting.pop(connection, None)

    def close_all(self) -> None:
        """Close every connection that still waits."""
        with self._lock:
            for connection in tuple(self._waiting):
                self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        logger.info("connection.displaced", code="half_open_limit", address=self._waiting.pop(connection))
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # its thread, which waits for bytes, wakes up and ends it


class GuardedSocket(AssociationSocket):
    """An association's socket, with a bound on the length of each PDU and on the time that it may take."""

    def __init__(
        self, association: Association, connection: socket.socket, *, first_pdu: bytes, limits: Limits
    ) -> None:
        super().__init__(association, client_socket=connection)
        self._first_pdu = first_pdu
        self._limits = limits
        self._deadline = 0.0

    @property
    def ready(self) -> bool:
        """Wait a moment for bytes to read, and say whether there are any.

        pynetdicom asks without waiting and then sleeps, so each PDU is noticed late. ``poll``, because ``select``
        fails above 1023 descriptors.
        """
        if self.socket is None or not self._is_connected:
            return False
        if self._first_pdu:
            return True
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            waiting = bool(poller.poll(_POLL_MILLISECONDS))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False
        return waiting or (isinstance(self.socket, SSLSocket) and bool(self.socket.pending()))

    def recv(self, nr_bytes: int) -> bytearray:
        """Read exactly so many bytes: first a PDU's header, which starts its clock, then the rest of it.

        Returns less where the peer closed; ConnectionRefused where a PDU is longer or slower than allowed.
        """
        if self._first_pdu:
            head, self._first_pdu = self._first_pdu[:nr_bytes], self._first_pdu[nr_bytes:]
            return bytearray(head)
        if nr_bytes == _HEADER_BYTES:
            self._deadline = time.monotonic() + self._limits.pdu_seconds
        connection = cast("socket.socket", self.socket)
        try:
            longest = self._limits.maximum_pdu_bytes + _PDU_SLACK_BYTES
            received = _receive(connection, nr_bytes, self._deadline, late="pdu_too_slow", longest=longest)
        except ConnectionRefused as error:
            logger.warning("association.cut", code=error.code, address=self.assoc.requestor.address)
            raise
        connection.settimeout(self._limits.send_seconds)
        return received


class ConnectionHandler(RequestHandler):
    """One connection, in its own thread, from the TLS handshake to the end of its association."""

    server: HardenedServer
    request: socket.socket

    def handle(self) -> None:
        """Wait for a complete A-ASSOCIATE-RQ, run the association, and tell the owner when it is over."""
        limits, half_open = self.server.hooks.limits, self.server.half_open
        try:
            with contextlib.ExitStack() as on_failure:
                connection = self._secured(limits)
                on_failure.callback(self._close_copy, connection)
                first_pdu = _association_request(connection, time.monotonic() + limits.request_seconds)
                on_failure.pop_all()
        except ConnectionRefused as error:
            logger.info("connection.ended", code=error.code, address=self.client_address[0])
            return
        except OSError:
            # Nobody's fault and nothing lost: a health check that connects and leaves looks like this.
            logger.debug("connection.ended", code="connection_lost", address=self.client_address[0])
            return
        finally:
            half_open.remove(self.request)
        self._run(connection, first_pdu)

    def _secured(self, limits: Limits) -> socket.socket:
        self.request.settimeout(limits.request_seconds)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        secure = self.server.hooks.secure
        return self.request if secure is None else secure(self.request).connection

    def _close_copy(self, connection: socket.socket) -> None:
        """Close what TLS runs on, a second descriptor of the connection; the server closes the first."""
        if connection is not self.request:
            connection.close()

    def _run(self, connection: socket.socket, first_pdu: bytes) -> None:
        hooks = self.server.hooks
        connection.settimeout(hooks.limits.send_seconds)
        association = self._create_association()
        # The socket object made there has announced the connection (Evt5); ours takes its place and announces it anew.
        association.dul.event_queue.get_nowait()
        association.dul.socket = GuardedSocket(association, connection, first_pdu=first_pdu, limits=hooks.limits)
        association.dul._run_loop_delay = 0  # noqa: SLF001 - our socket's own wait takes the place of this sleep
        association.dimse = messages = BoundedMessages(association, hooks.messages)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        try:
            association.start()
            association.join()
        finally:
            messages.discard()
            hooks.on_end(association)


class HardenedServer(ThreadedAssociationServer):
    """Accepts connections and hands each to its thread; nothing a peer does can hold the accept loop up."""

    request_queue_size = _WAITING_CONNECTIONS
    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        entity: ApplicationEntity,
        address: tuple[str, int],
        contexts: list[PresentationContext],
        *,
        evt_handlers: list[evt.EventHandlerType],
        hooks: ServerHooks,
    ) -> None:
        self.hooks = hooks
        self.half_open = HalfOpen(hooks.limits)
        super().__init__(
            entity, address, entity.ae_title, contexts, evt_handlers=evt_handlers, request_handler=ConnectionHandler
        )

    def serve_forever(self, poll_interval: float = _ACCEPT_SECONDS) -> None:
        """Accept until ``shutdown``, which wakes this thread: there is nothing to look for in between."""
        super().serve_forever(poll_interval)

    def shutdown(self) -> None:
        """Stop accepting and close the port; open associations go on."""
        # A listening socket that is shut down counts as readable, so the accept loop sees at once that it should end.
        with contextlib.suppress(OSError):
            cast("socket.socket", self.socket).shutdown(socket.SHUT_RDWR)
        super().shutdown()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a TCP connection and nothing more: a TLS handshake here would let one silent peer stop everybody."""
        connection, address = cast("socket.socket", self.socket).accept()
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Let a connection in by its address, and count it as half-open."""
        address = str(client_address[0])
        if not self.hooks.accepts(address):
            return False
        self.half_open.add(request, address)
        return True

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Run one connection to its end and close it."""
        try:
            self.finish_request(request, client_address)
        except Exception:  # edge: one connection that breaks a library must not stop the listener
            logger.exception("connection.failed", code="unexpected_error", address=client_address[0])
        finally:
            self.half_open.remove(request)
            self.shutdown_request(request)


def _association_request(connection: socket.socket, deadline: float) -> bytes:
    """Read the first PDU, which must be an A-ASSOCIATE-RQ of a sensible length (PS3.8 9.3.2)."""
    late = "association_request_late"
    header = _receive(connection, _HEADER_BYTES, deadline, late=late)
    if len(header) < _HEADER_BYTES:
        raise ConnectionResetError("no association was asked for")
    kind, _, length = struct.unpack(">BBL", header)
    if kind != _ASSOCIATE_RQ or length > _LARGEST_REQUEST_BYTES:
        raise ConnectionRefused("not_an_association_request")
    body = _receive(connection, length, deadline, late=late)
    if len(body) < length:
        raise ConnectionResetError("the association request broke off")
    return bytes(header + body)


def _receive(
    connection: socket.socket, wanted: int, deadline: float, *, late: str, longest: int = _LARGEST_REQUEST_BYTES
) -> bytearray:
    """Read ``wanted`` bytes, or fewer where the peer closes; memory grows with what came, not with what was claimed.

    ConnectionRefused where more than ``longest`` are wanted, or where they are not there by the deadline (``late``).
    """
    if wanted > longest:
        raise ConnectionRefused("pdu_too_long")
    received = bytearray()
    while len(received) < wanted:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ConnectionRefused(late)
        connection.settimeout(left)
        try:
            piece = connection.recv(min(wanted - len(received), _RECEIVE_BYTES))
        except TimeoutError:
            raise ConnectionRefused(late) from None
        if not piece:
            break
        received += piece
    return received
