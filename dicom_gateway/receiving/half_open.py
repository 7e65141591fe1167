"""Connections without an association, not yet or no more: few, and the oldest give way."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import OrderedDict
from dataclasses import dataclass

from dicom_gateway.receiving.bounded_log import BoundedLog


@dataclass(frozen=True, slots=True)
class HalfOpenLimits:
    """How many there may be in all and from one address; half of all is kept for addresses that peers are known at."""

    maximum: int
    per_address: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    address: str
    is_known: bool
    is_over: bool


class HalfOpen:
    """Above a bound the oldest is closed: honest peers speak at once. Threads share it."""

    def __init__(self, limits: HalfOpenLimits, log: BoundedLog) -> None:
        self._limits = limits
        self._log = log
        self._lock = threading.Lock()
        self._waiting: OrderedDict[socket.socket, _Waiting] = OrderedDict()

    def add(self, connection: socket.socket, address: str, *, is_known: bool, is_over: bool = False) -> None:
        """Take a connection in, and close the oldest where there are too many of its kind.

        One whose association ``is_over`` only waits for its peer to close: such ones go first, and displace no other.
        """
        newcomer = _Waiting(address, is_known, is_over)
        with self._lock:
            self._waiting[connection] = newcomer
            leaving = self._leaving(newcomer)
            where = self._waiting.pop(leaving) if leaving else None
        if leaving is None or where is None:
            return
        if not where.is_over:
            self._log.write("connection.displaced", code="half_open_limit", address=where.address)
        _shut(leaving)

    def remove(self, connection: socket.socket) -> None:
        """Let go of a connection that has an association now, or is closed."""
        with self._lock:
            self._waiting.pop(connection, None)

    def close_all(self) -> None:
        """Close every connection that still waits."""
        with self._lock:
            left = tuple(self._waiting)
            self._waiting.clear()
        for connection in left:
            _shut(connection)

    def _leaving(self, newcomer: _Waiting) -> socket.socket | None:
        """Return which one must go now that a newcomer is among them."""
        limits = self._limits
        same = [other for other, where in self._waiting.items() if where.address == newcomer.address]
        if len(same) > limits.per_address:
            return self._first_to_go(same)
        strangers = [other for other, where in self._waiting.items() if not where.is_known]
        if not newcomer.is_known and len(strangers) > max(1, limits.maximum // 2):
            return self._first_to_go(strangers)
        if len(self._waiting) > limits.maximum:
            return self._first_to_go(strangers or list(self._waiting))
        return None

    def _first_to_go(self, candidates: list[socket.socket]) -> socket.socket:
        return next((other for other in candidates if self._waiting[other].is_over), candidates[0])


def _shut(connection: socket.socket) -> None:
    # The thread that waits for its bytes wakes up and closes it. Not the method of a TLS socket: that is no other
    # thread's business.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
