"""TLS with the peers that we call."""

from __future__ import annotations

import ssl
import threading
from socket import socket
from typing import Protocol

from dicom_gateway.config import GatewaySettings
from dicom_gateway.errors import PeerUntrusted
from dicom_gateway.tls.contexts import client_context, client_files
from dicom_gateway.tls.failures import explained
from dicom_gateway.tls.reloaded_context import ReloadedContext


class Named(Protocol):
    """Whom a connection goes to: a DICOM peer or an HTTP service; as text it is its address."""

    @property
    def host(self) -> str:
        """Name or IP address."""
        ...


class DestinationTls:
    """What TLS with destinations needs of the settings; files are read when first needed, and again when changed."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._context: ReloadedContext | None = None

    def secure(self, connection: socket, destination: Named) -> ssl.SSLSocket:
        """Shake hands over a connection, which the socket returned takes over; its timeout holds.

        CertificateUnusable where a file of the settings is not right, PeerUntrusted where either side does not accept
        the other, OSError where the connection ends.
        """
        name = self._settings.tls_destination_names.get(destination.host, destination.host)
        try:
            return self._current().wrap_socket(connection, server_hostname=name)
        except ssl.SSLEOFError:
            raise
        except ssl.SSLError as error:
            raise untrusted(destination, error) from error

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                settings = self._settings
                self._context = ReloadedContext(
                    "destinations", lambda: client_context(settings), client_files(settings)
                )
            return self._context.current()


def untrusted(destination: Named, error: ssl.SSLError) -> PeerUntrusted:
    """Return what a TLS error means, with what to do.

    By TLS 1.3 a peer refuses our certificate only after the handshake, at the first reading.
    """
    return PeerUntrusted(f"{destination}: {explained(error)}")
