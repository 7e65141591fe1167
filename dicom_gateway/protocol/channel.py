"""A peer's connection: whole PDUs out of it and bytes into it, each with a bound on length and on time.

The socket never blocks; every wait is a ``poll`` with a deadline. So an association that waits for its peer can be told
to end at any time, over TLS too, where only its own thread may write the A-ABORT.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from typing import NamedTuple

from dicom_gateway.errors import AssociationInterrupted, ConnectionLost, ProtocolViolation
from dicom_gateway.protocol.pdus import HEADER, PDU_TYPES, AbortReason, PduType

REQUEST_LATE = "association_request_late"
"""The code of a connection that did not ask for an association in time."""

_FIRST_BUFFER_BYTES = 64 << 10
_AHEAD_BYTES = 16 << 10
"""So much is read of what follows a PDU: the beginning of the next one, which is moved to the front, or small ones."""
_SEND_BYTES = 32 << 10
"""The kernel locks a connection while it takes bytes in, and acknowledgements wait for that: small sends are faster."""
_LINGER_SECONDS = 1.0
_MOST_LINGER_BYTES = 256 << 10
_MILLISECONDS = 1000


class Pdu(NamedTuple):
    """A PDU that is there in full. Its ``body`` holds until the next one is read."""

    kind: PduType
    body: memoryview


class Channel:
    """One connection. Its own thread reads and writes; ``interrupt`` and ``cut`` may be called by any."""

    def __init__(self, connection: socket.socket, *, pdu_seconds: float, send_seconds: float) -> None:
        connection.settimeout(0)
        self._connection = connection
        self._pdu_seconds = pdu_seconds
        self._send_seconds = send_seconds
        self._poller = select.poll()
        self._view = memoryview(bytearray(_FIRST_BUFFER_BYTES))
        self._start = self._end = 0
        self._interruption: str | None = None
        self._is_sending = False

    def read_first(self, *, deadline: float, longest_bytes: int) -> Pdu:
        """Return the first PDU, which must be there in full by ``deadline``; errors as of ``read_pdu``."""
        return self._read(longest_bytes, deadline, late=REQUEST_LATE)

    def read_pdu(self, *, idle_seconds: float, longest_bytes: int) -> Pdu:
        """Wait for a PDU to begin, then for the rest of it.

        ProtocolViolation for an unknown type, a length above ``longest_bytes``, silence, or a PDU that takes too long;
        ConnectionLost where the peer is gone; AssociationInterrupted where we want the association to end.
        """
        if self._interruption:
            raise AssociationInterrupted(self._interruption)
        if self._start == self._end:
            self._fill(HEADER.size, time.monotonic() + idle_seconds, late="association_silent")
        return self._read(longest_bytes, time.monotonic() + self._pdu_seconds, late="pdu_too_slow")

    def read_pdu_by(self, *, deadline: float, longest_bytes: int) -> Pdu:
        """Return the next PDU, which must be there in full by ``deadline``, however many come before it.

        Errors as of ``read_pdu``. A peer that always has another PDU ready is late as well.
        """
        if self._interruption:
            raise AssociationInterrupted(self._interruption)
        if time.monotonic() >= deadline:
            raise _late("answer_late")
        return self._read(longest_bytes, deadline, late="answer_late")

    def has_more(self) -> bool:
        """Say, without waiting, whether reading would bring anything: bytes of the peer, or an end of any kind."""
        if self._interruption or self._start != self._end:
            return True
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        self._poller.register(self._connection, select.POLLIN)
        return bool(self._poller.poll(0))

    def send(self, data: bytes | memoryview) -> None:
        """Write everything; ConnectionLost where the peer is gone, or does not take it in time."""
        deadline = time.monotonic() + self._send_seconds
        left = memoryview(data)
        self._is_sending = True
        try:
            while left:
                left = left[self._send_some(left[:_SEND_BYTES], deadline) :]
        finally:
            self._is_sending = False

    def interrupt(self, code: str) -> None:
        """Have the association's thread end it at its next wait; ``code`` says why. What it writes still goes out."""
        self._interruption = self._interruption or code
        self._shut(socket.SHUT_RDWR if self._is_sending else socket.SHUT_RD)

    def cut(self) -> None:
        """End the connection at once."""
        self._shut(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Say that nothing more comes, and wait a moment for the peer to close.

        Closing with unread bytes would make the kernel reset the connection, and the peer lose our last PDU.
        """
        if isinstance(self._connection, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):
                self._connection.unwrap()  # does not block: it sends the close notification and leaves it at that
        self._shut(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_SECONDS
        received = 0
        raw = socket.socket.recv_into
        with contextlib.suppress(OSError, ProtocolViolation, AssociationInterrupted):
            while received < _MOST_LINGER_BYTES:
                try:
                    count = raw(self._connection, self._view)
                except BlockingIOError:
                    self._wait(select.POLLIN, deadline, late="linger")
                    continue
                if not count:
                    return
                received += count

    def _read(self, longest_bytes: int, deadline: float, *, late: str) -> Pdu:
        while self._end - self._start < HEADER.size:
            self._fill(HEADER.size, deadline, late)
        number, length = HEADER.unpack_from(self._view, self._start)
        kind = PDU_TYPES.get(number)
        if kind is None:
            raise ProtocolViolation(
                f"a PDU of the unknown type {number}",
                code="unrecognized_pdu",
                abort_reason=AbortReason.UNRECOGNIZED_PDU,
            )
        if length > longest_bytes:
            raise ProtocolViolation(
                f"a PDU of {length} bytes, where {longest_bytes} are allowed",
                code="pdu_too_long",
                abort_reason=AbortReason.INVALID_PARAMETER,
            )
        whole = HEADER.size + length
        while self._end - self._start < whole:
            self._fill(whole, deadline, late)
        body = self._view[self._start + HEADER.size : self._start + whole]
        self._start += whole
        return Pdu(kind, body)

    def _fill(self, wanted: int, deadline: float, late: str) -> None:
        """Read what is there of a PDU of ``wanted`` bytes and a little more into the buffer, or wait for it."""
        most = wanted + _AHEAD_BYTES
        self._make_room(most)
        room = self._view[self._end : self._start + most]
        while True:
            try:
                count = self._connection.recv_into(room)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(select.POLLIN, deadline, late)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT, deadline, late)
            except OSError as error:
                raise self._lost() from error
            else:
                if not count:
                    raise self._lost()
                self._end += count
                return

    def _make_room(self, most: int) -> None:
        """Begin anew where all is read, move the rest to the front, or grow where the buffer is full of what came."""
        left = self._end - self._start
        if not left:
            self._start = self._end = 0
        elif len(self._view) - self._start < most:
            is_full = left == len(self._view)
            into = memoryview(bytearray(min(2 * left, most))) if is_full else self._view
            if is_full or self._start:
                into[:left] = self._view[self._start : self._end]
            self._view, self._start, self._end = into, 0, left

    def _send_some(self, data: memoryview, deadline: float) -> int:
        try:
            return self._connection.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._wait(select.POLLOUT, deadline, late="answer_not_taken")
        except ssl.SSLWantReadError:
            self._wait(select.POLLIN, deadline, late="answer_not_taken")
        except OSError as error:
            raise self._lost() from error
        return 0

    def _wait(self, events: int, deadline: float, late: str) -> None:
        left = deadline - time.monotonic()
        self._poller.register(self._connection, events)
        if left <= 0 or not self._poller.poll(left * _MILLISECONDS):
            raise _late(late)
        if self._interruption and late not in ("linger", "answer_not_taken"):
            raise AssociationInterrupted(self._interruption)

    def _lost(self) -> ConnectionLost | AssociationInterrupted:
        if self._interruption:
            return AssociationInterrupted(self._interruption)
        return ConnectionLost("the connection ended")

    def _shut(self, how: int) -> None:
        # Not the method of a TLS socket, which would drop its state under the thread that uses it.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, how)


def _late(code: str) -> ProtocolViolation:
    return ProtocolViolation("the peer did not do its part in time", code=code)
