"""HL7 v2 over a connection: the Minimal Lower Layer Protocol (HL7 v2.5.1 appendix C), one message and its answer.

One deadline ends each exchange, for a receiver that drips keeps every single wait short.
"""

from __future__ import annotations

import socket

from dicom_gateway.announcing.receiver_address import ReceiverAddress
from dicom_gateway.errors import GatewayError, PeerAnswerInvalid, PeerUnreachable
from dicom_gateway.http_exchange import Deadline, ServiceTooSlow, broken_off
from dicom_gateway.tls import connecting
from dicom_gateway.tls.destination_handshake import DestinationTls

_START, _END, _RETURN = b"\x0b", b"\x1c", b"\r"
_LINE_ENDS = b"\r\n"
_MOST_ANSWER_BYTES = 64 << 10
_PIECE_BYTES = 4096


def connected(address: ReceiverAddress, *, seconds: float, tls: DestinationTls | None = None) -> socket.socket:
    """Connect to a receiver, with TLS up to the end of the handshake; ``seconds`` bound the one and the other.

    PeerUnreachable where it is not there, PeerUntrusted where its certificate does not hold. Nothing was said then.
    """
    return connecting.connected(address, connect_seconds=seconds, handshake_seconds=seconds, tls=tls)


def exchange(connection: socket.socket, address: ReceiverAddress, message: bytes, *, seconds: float) -> bytes:
    """Send a message and return the receiver's answer, both without their framing.

    PeerUnreachable where the receiver breaks off or says nothing in time, PeerUntrusted where it does not take our
    certificate, PeerAnswerInvalid where what it says is no block, or has no end.
    """
    connection.settimeout(None)  # the deadline bounds its waits
    deadline = Deadline(seconds)
    try:
        with deadline.ending(connection):
            connection.sendall(_START + message + _END + _RETURN)
            return _block(connection, address)
    except OSError as error:
        raise (_late(address) if deadline.is_late else broken_off(address, error)) from error
    except GatewayError as error:
        raise (_late(address) if deadline.is_late else error) from error


def _block(connection: socket.socket, address: ReceiverAddress) -> bytes:
    """Read a block; the carriage return behind it is not waited for, since some receivers leave it out."""
    received = b""
    while _END not in received:
        _check_begin(received, address)
        piece = connection.recv(_PIECE_BYTES)
        if not piece:
            raise _ended(received, address)
        received += piece
        if len(received) > _MOST_ANSWER_BYTES:
            raise PeerAnswerInvalid(f"{address} answers with more than {_MOST_ANSWER_BYTES >> 10} KiB")
    _check_begin(received, address)
    return received.lstrip(_LINE_ENDS).partition(_END)[0].removeprefix(_START)


def _check_begin(received: bytes, address: ReceiverAddress) -> None:
    begin = received.lstrip(_LINE_ENDS)
    if begin and not begin.startswith(_START):
        raise PeerAnswerInvalid(f"{address} does not answer in HL7 (MLLP); check the port")


def _ended(received: bytes, address: ReceiverAddress) -> GatewayError:
    if received.strip():
        return PeerAnswerInvalid(f"{address} broke its answer off")
    return PeerUnreachable(f"{address} ended the connection without an answer")


def _late(address: ReceiverAddress) -> ServiceTooSlow:
    return ServiceTooSlow(f"{address} did not answer in time")
