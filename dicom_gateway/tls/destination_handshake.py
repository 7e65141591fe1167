"""TLS with the peers that we call: pynetdicom begins the handshake, and here is kept why one failed."""

from __future__ import annotations

import ssl
import threading
from socket import socket
from typing import cast

from dicom_gateway.config import GatewaySettings
from dicom_gateway.destinations import Destination
from dicom_gateway.tls.contexts import client_context, client_files
from dicom_gateway.tls.failures import explained
from dicom_gateway.tls.reloaded_context import ReloadedContext


class DestinationTls:
    """What TLS with destinations needs of the settings; files are read when first needed, and again when changed."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._context: ReloadedContext | None = None

    def handshake(self, destination: Destination) -> DestinationHandshake:
        """Prepare a handshake with a destination; CertificateUnusable where a file of the settings is not right."""
        name = self._settings.tls_destination_names.get(destination.host, destination.host)
        return DestinationHandshake(self._current(), name)

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                settings = self._settings
                self._context = ReloadedContext(
                    "destinations", lambda: _observed_context(settings), client_files(settings)
                )
            return self._context.current()


class _ObservedSocket(ssl.SSLSocket):
    """A TLS socket that keeps its last TLS error, which pynetdicom takes for any lost connection.

    By TLS 1.3 a peer refuses our certificate only after the handshake, at the first reading.
    """

    failure: ssl.SSLError | None = None

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        try:
            super().do_handshake(block)
        except ssl.SSLError as error:
            self.failure = error
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self.failure = error
            raise


class DestinationHandshake:
    """One association's handshake, to be handed to pynetdicom as ``tls_args``."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._context = context
        self._server_name = server_name
        self._socket: _ObservedSocket | None = None

    @property
    def tls_args(self) -> tuple[ssl.SSLContext, str]:
        """This handshake in the place of the context, whose one method it has, and the name that must be certified."""
        return cast("ssl.SSLContext", self), self._server_name

    @property
    def failure(self) -> str:
        """Why the handshake failed, with what to do; empty where it did not."""
        error = self._socket.failure if self._socket is not None else None
        return "" if error is None or isinstance(error, ssl.SSLEOFError) else explained(error)

    def close(self) -> None:
        """Close the connection of an association that did not come about; pynetdicom only lets go of it."""
        if self._socket is not None:
            self._socket.close()

    def wrap_socket(self, connection: socket, *, server_side: bool, server_hostname: str) -> ssl.SSLSocket:
        """Take over a socket that will be connected; the handshake follows at once then."""
        secured = self._context.wrap_socket(connection, server_side=server_side, server_hostname=server_hostname)
        self._socket = cast("_ObservedSocket", secured)
        return secured


def _observed_context(settings: GatewaySettings) -> ssl.SSLContext:
    context = client_context(settings)
    context.sslsocket_class = _ObservedSocket
    return context
