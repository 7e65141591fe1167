"""A connection to a DICOM peer or an HTTP service, by TLS where its address says so."""

from __future__ import annotations

import socket
from typing import Protocol

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import GatewayError, PeerUnreachable, PeerUntrusted
from dicom_gateway.tls.destination_handshake import DestinationTls, Named
from storage.errors import ConfigurationError


class Address(Named, Protocol):
    """Where a connection goes to; as text it is what people wrote."""

    @property
    def port(self) -> int:
        """TCP port."""
        ...

    @property
    def tls(self) -> bool:
        """Whether it is spoken to by TLS."""
        ...


def connected(
    address: Address, *, connect_seconds: float, handshake_seconds: float, tls: DestinationTls | None = None
) -> socket.socket:
    """Connect, and shake hands where the address has TLS.

    PeerUnreachable where it does not answer, PeerUntrusted where TLS fails on either side's certificate. Without
    ``tls``, peers are held against the system's authorities and shown no certificate.
    """
    try:
        connection = socket.create_connection((address.host, address.port), connect_seconds)
    except socket.gaierror as error:
        raise PeerUnreachable(
            f"{address}: the host name cannot be resolved ({error.strerror}); check the address"
        ) from error
    except OSError as error:
        raise no_answer(address) from error
    return secured(connection, address, handshake_seconds=handshake_seconds, tls=tls)


def secured(
    connection: socket.socket, address: Address, *, handshake_seconds: float, tls: DestinationTls | None = None
) -> socket.socket:
    """Return a connection that somebody made, by TLS where the address says so; errors as of ``connected``."""
    try:
        # Nagle's algorithm would hold back the end of each message.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(handshake_seconds)
        return (tls or DestinationTls(GatewaySettings())).secure(connection, address) if address.tls else connection
    except ConfigurationError as error:
        connection.close()
        raise PeerUntrusted(f"{address}: {error}") from error
    except OSError as error:
        connection.close()
        raise no_answer(address) from error
    except GatewayError:
        connection.close()
        raise


def no_answer(address: Named) -> PeerUnreachable:
    """Return what silence means, with what to do."""
    return PeerUnreachable(f"{address} does not answer; check that it runs, and host, port and firewall")
