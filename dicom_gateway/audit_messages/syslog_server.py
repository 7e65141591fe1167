"""Where syslog messages go: one server's address, and with TLS the certificates on both sides."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from storage.config import AuditSettings
from storage.errors import ConfigurationError


class Transport(StrEnum):
    """How messages travel: TLS (RFC 5425), plain TCP (RFC 6587) or UDP (RFC 5426)."""

    TLS = "tls"
    TCP = "tcp"
    UDP = "udp"


_PORTS = {Transport.TLS: 6514, Transport.TCP: 601, Transport.UDP: 514}


@dataclass(frozen=True, slots=True)
class SyslogServer:
    """One server. Without ``ca`` its certificate is held against those that the system trusts."""

    transport: Transport
    host: str
    port: int
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        """Return the address as settings have it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"

    @classmethod
    def of(cls, settings: AuditSettings) -> Self | None:
        """Return the server that the settings name, None where they name none.

        ConfigurationError where the address is none, or where certificates are given that nothing would use.
        """
        if not settings.syslog:
            return None
        transport, host, port = _read_address(settings.syslog)
        files = (settings.syslog_ca, settings.syslog_certificate, settings.syslog_key)
        if transport is not Transport.TLS and any(files):
            raise ConfigurationError(
                f"audit.syslog is {settings.syslog}, which uses no certificates: take out audit.syslog_ca, "
                "audit.syslog_certificate and audit.syslog_key, or name it tls://"
            )
        return cls(transport, host, port, *files)

    def tls_context(self) -> ssl.SSLContext:
        """Return how TLS is spoken: version 1.2 or later, the server's certificate and name verified.

        ConfigurationError where a file cannot be read or is no certificate.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            named = [path for path in (self.ca, self.certificate, self.key) if path is not None]
            files = ", ".join(str(path) for path in named) or "the system's certificates"
            raise ConfigurationError(
                f"audit.syslog: {files} cannot be used ({error.strerror or error}): audit.syslog_ca and "
                "audit.syslog_certificate are PEM certificates, audit.syslog_key the certificate's own key"
            ) from error
        return context


def _read_address(text: str) -> tuple[Transport, str, int]:
    try:
        parts = urlsplit(text)
        transport, host, port = Transport(parts.scheme), parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.path.strip("/") or parts.query or parts.username:
        raise ConfigurationError(f"audit.syslog is {text!r}: write tls://HOST:PORT, tcp://HOST:PORT or udp://HOST:PORT")
    return transport, host, port or _PORTS[transport]
