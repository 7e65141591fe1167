"""The ports of a gateway: where each listens, and what makes a connection there a secured one."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from socket import socket

from dicom_gateway.config import GatewaySettings, ListenerSettings
from dicom_gateway.tls.contexts import server_context, server_files
from dicom_gateway.tls.failures import FailureLog
from dicom_gateway.tls.reloaded_context import ReloadedContext

_MOST_NAMES = 64
_LONGEST_NAME = 255  # of a DNS name (RFC 1035 2.3.4); a common name has 64 at most


@dataclass(frozen=True, slots=True)
class Secured:
    """A connection behind its handshake; ``certificate_names`` are CN and DNS names of the caller's certificate.

    Without a certificate of the caller's there are no names.
    """

    connection: socket
    certificate_names: tuple[str, ...] = ()


Secure = Callable[[socket], Secured]
"""Makes a connection that was accepted a secured one, within the timeout that is set on it; raises OSError.

The socket given stays its caller's, open and usable to end the handshake from elsewhere (``shutdown``). The secured one
is a second descriptor of the same connection: both are to be closed.
"""


@dataclass(frozen=True, slots=True)
class Door:
    """One port that connections are accepted at; without ``secure`` they are taken as they come."""

    host: str
    port: int
    secure: Secure | None = None


class ServerHandshake:
    """Speaks TLS with whoever connects to one listener; its files count as they are at each connection.

    The constructor raises CertificateUnusable where a file of the settings cannot be used.
    """

    def __init__(self, settings: GatewaySettings, listener: ListenerSettings, failures: FailureLog) -> None:
        self._port = listener.port
        self._failures = failures
        self._context = ReloadedContext(
            f"listener {listener}",
            lambda: server_context(settings, listener.client_certificates),
            server_files(settings),
        )

    def __call__(self, connection: socket) -> Secured:
        """Shake hands with a caller; see ``Secure``."""
        address = str(connection.getpeername()[0])
        # wrap_socket takes its socket over: a copy leaves whoever accepted the connection able to end it.
        secured = self._context.current().wrap_socket(connection.dup(), server_side=True, do_handshake_on_connect=False)
        try:
            secured.do_handshake()
        except OSError as error:
            secured.close()
            # Who connects and leaves, as health checks do, is no news.
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                self._failures.note(error, address=address, port=self._port)
            raise
        return Secured(secured, certificate_names(secured))


def server_doors(settings: GatewaySettings) -> tuple[Door, ...]:
    """Return every port that the settings name, the plain one first; CertificateUnusable where a file is not right."""
    failures = FailureLog()
    return (Door(settings.host, settings.port), *_further(settings, failures))


def _further(settings: GatewaySettings, failures: FailureLog) -> Iterator[Door]:
    for listener in settings.listeners:
        secure = ServerHandshake(settings, listener, failures) if listener.tls else None
        yield Door(listener.host, listener.port, secure)


def certificate_names(connection: ssl.SSLSocket) -> tuple[str, ...]:
    """Return the common names and DNS names of the other side's certificate, if it was asked for and holds.

    Names that are not printable, or longer than names are, are left out: they match nothing.
    """
    certificate = connection.getpeercert() or {}
    subject: tuple[tuple[tuple[str, str], ...], ...] = certificate.get("subject", ())  # type: ignore[assignment] # the stubs know a looser type
    alternatives: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())  # type: ignore[assignment] # the stubs know a looser type
    common = [value for part in subject for key, value in part if key == "commonName"]
    dns = [value for kind, value in alternatives if kind == "DNS"]
    fit = (name for name in (*common, *dns) if name.isprintable() and len(name) <= _LONGEST_NAME)
    return tuple(dict.fromkeys(fit))[:_MOST_NAMES]
