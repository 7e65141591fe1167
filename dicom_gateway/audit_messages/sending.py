"""Sending syslog messages so that what counts as sent was read by the other side.

Syslog has no acknowledgement. A batch therefore gets a connection of its own, which we end in order, and then we wait
for the peer to end it: one that closes its socket with anything unread resets the connection, so an end in order says
that it has read all. UDP says nothing, and is sent without asking.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

from dicom_gateway.audit_messages.syslog import framed
from dicom_gateway.audit_messages.syslog_server import SyslogServer, Transport
from dicom_gateway.audit_messages.tls_channel import TlsChannel
from dicom_gateway.errors import SyslogUnreachable, SyslogUntrusted

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 20.0
_MOST_BYTES = 4096


def send(server: SyslogServer, messages: Sequence[bytes]) -> None:
    """Send messages in order, and return once the server has read them all; with UDP, once they are sent.

    Raises SyslogUnreachable where the server is not there or broke off, SyslogUntrusted where one side does not take
    the other's certificate; any number of the messages may have arrived then.
    """
    with _told(server):
        if server.transport is Transport.UDP:
            _send_datagrams(server, messages)
        elif server.transport is Transport.TLS:
            _send_secured(server, messages)
        else:
            _send_plain(server, messages)


def reach(server: SyslogServer) -> None:
    """Connect to the server, with TLS up to the end of the handshake, and send nothing; raises as ``send`` does."""
    if server.transport is not Transport.UDP:
        send(server, ())


def _send_secured(server: SyslogServer, messages: Sequence[bytes]) -> None:
    context = server.tls_context()
    with _connected(server) as connection:
        channel = TlsChannel(connection, context, host=server.host)
        channel.shake_hands()
        channel.send_all(_framed(messages))
        channel.end()


def _send_plain(server: SyslogServer, messages: Sequence[bytes]) -> None:
    with _connected(server) as connection:
        connection.sendall(_framed(messages))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(_MOST_BYTES):
            pass


def _send_datagrams(server: SyslogServer, messages: Sequence[bytes]) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        for message in messages:
            connection.sendto(message, address)


def _framed(messages: Sequence[bytes]) -> bytes:
    return b"".join(framed(message) for message in messages)


@contextlib.contextmanager
def _connected(server: SyslogServer) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), _CONNECT_SECONDS) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        yield connection


@contextlib.contextmanager
def _told(server: SyslogServer) -> Iterator[None]:
    """Say what went wrong in our own words."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise SyslogUntrusted(
            f"the certificate of {server} is not trusted ({error.verify_message}): name its issuer's in "
            "audit.syslog_ca, and the server as its certificate does"
        ) from error
    except ssl.SSLError as error:
        raise SyslogUntrusted(
            f"{server} ended the TLS handshake ({error.reason or error}): it may want a certificate of ours "
            "(audit.syslog_certificate), or not take the one that it got"
        ) from error
    except ConnectionRefusedError as error:
        raise SyslogUnreachable(f"{server} cannot be reached: nobody listens there") from error
    except ConnectionError as error:
        certificate = "; it may not take our certificate, or want one" if server.transport is Transport.TLS else ""
        raise SyslogUnreachable(f"{server} broke the connection off{certificate}") from error
    except TimeoutError as error:
        raise SyslogUnreachable(f"{server} did not answer in time") from error
    except OSError as error:
        raise SyslogUnreachable(f"{server} cannot be reached: {error.strerror or error}") from error
