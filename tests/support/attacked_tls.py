"""A gateway under attack whose TLS port asks for certificates."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.attacked_gateway import AttackedGateway, attacked_gateway
from tests.support.certificates import Authority
from tests.support.known_peer import KnownPeer, client_context, known_peer
from tests.support.peers import free_port


@dataclass(frozen=True, slots=True)
class Secured:
    """A gateway with a TLS port that asks for certificates, and what its peers show."""

    gateway: AttackedGateway
    port: int
    authority: Path
    credentials: tuple[Path, Path]

    def known(self) -> AbstractContextManager[KnownPeer]:
        """Return a known peer at the TLS port."""
        return known_peer(self.port, secured=(self.authority, *self.credentials))

    def client(self) -> ssl.SSLContext:
        """Return what a peer with a certificate needs."""
        return client_context(self.authority, *self.credentials)


@contextlib.contextmanager
def attacked_tls(folder: Path, template: Path) -> Iterator[Secured]:
    """Run a gateway with a plain port and a TLS port until the block ends."""
    authority = Authority(folder)
    server, client = authority.issue("gateway", address="127.0.0.1"), authority.issue("modality")
    port = free_port()
    settings: dict[str, Any] = {
        "listeners": [{"host": "127.0.0.1", "port": port, "tls": True, "client_certificates": "required"}],
        "tls_certificate": str(server.certificate),
        "tls_key": str(server.key),
        "tls_callers_ca": str(authority.certificate),
    }
    with attacked_gateway(folder / "state", template, **settings) as gateway:
        yield Secured(gateway, port, authority.certificate, (client.certificate, client.key))
