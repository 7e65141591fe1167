"""A gateway with a TLS listener, certificates of its own authority, and openssl as a peer."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from storage.database import Database
from storage.objects import ObjectStore
from tests.support.certificates import Authority, Issued
from tests.support.gateways import Running, running_gateway
from tests.support.peers import echoscu, executable, storescu


@dataclass(frozen=True, slots=True)
class Certificates:
    """What both sides need: one authority, which issued the gateway's pair and a caller's."""

    authority: Authority
    gateway: Issued
    caller: Issued

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        authority = Authority(folder)
        return cls(authority, authority.issue("localhost", address="127.0.0.1"), authority.issue("modality.example"))

    def settings(self, client_certificates: str = "required", **settings: Any) -> dict[str, Any]:
        """Return the settings of a gateway with one TLS listener on a free port."""
        return {
            "listeners": ({"port": 0, "client_certificates": client_certificates},),
            "tls_certificate": self.gateway.certificate,
            "tls_key": self.gateway.key,
            "tls_callers_ca": self.authority.certificate,
            **settings,
        }

    def options(self, pair: Issued | None = None) -> tuple[str | Path, ...]:
        """Return DCMTK's options to call with a pair of certificate and key, by default the caller's."""
        pair = pair or self.caller
        return ("+tls", pair.key, pair.certificate, "+cf", self.authority.certificate)

    def anonymous(self) -> tuple[str | Path, ...]:
        """Return DCMTK's options to call with TLS and no certificate."""
        return ("+tla", "+cf", self.authority.certificate)


@dataclass(frozen=True, slots=True)
class SecuredGateway:
    """A gateway that is up, and its TLS port."""

    running: Running
    certificates: Certificates
    port: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "port", self.running.gateway.ports[1])

    def echoes(self, *options: str | Path) -> bool:
        """Say whether DCMTK's echoscu gets an answer at the TLS port; by default with the caller's certificate."""
        return echoscu("ONCUE", self.port, options=options or self.certificates.options()).returncode == 0

    def takes(self, *files: Path) -> bool:
        """Say whether DCMTK's storescu gets rid of files at the TLS port."""
        return storescu("ONCUE", self.port, *files, options=self.certificates.options()).returncode == 0

    def openssl(self, *options: str | Path) -> subprocess.CompletedProcess[str]:
        """Shake hands by `openssl s_client`, whose exit code and both outputs say what came of it."""
        address = f"127.0.0.1:{self.port}"
        return subprocess.run(
            [executable("openssl"), "s_client", "-connect", address, *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )


@contextlib.contextmanager
def secured_gateway(
    database: Database,
    objects: ObjectStore,
    certificates: Certificates,
    client_certificates: str = "required",
    **settings: Any,
) -> Iterator[SecuredGateway]:
    """Run a gateway with a plain port and a TLS port until the block ends."""
    with running_gateway(database, objects, **certificates.settings(client_certificates, **settings)) as running:
        yield SecuredGateway(running, certificates)
