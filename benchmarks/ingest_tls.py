"""Durable ingest over TLS: oncue beside itself without TLS, and beside DCMTK storescp and Orthanc with it.

All speak TLS 1.2 or 1.3 by the BCP 195 profile (PS3.15 B.12), and both sides show certificates, of RSA keys with 3072
bits. The images, the senders and what is measured are those of ``benchmarks.ingest``.
Run: ``python -m benchmarks.ingest_tls [--images N] [--repeats N]``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import ingest
from benchmarks.ingest import Receiver
from dicom_gateway.tls.trial_authority import TrialAuthority

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Credentials:
    """PEM files of one authority, a server and a caller."""

    authority: Path
    certificate: Path
    key: Path
    caller_certificate: Path
    caller_key: Path

    @classmethod
    def make(cls, folder: Path) -> Credentials:
        """Issue them into a folder."""
        now = datetime.now(UTC)
        authority = TrialAuthority.open(folder, now=now)
        server, caller = authority.issue_server([_LOOPBACK], now=now), authority.issue_client("STORESCU", now=now)
        return cls(authority.certificate, server.certificate, server.key, caller.certificate, caller.key)

    def of_caller(self) -> tuple[str, ...]:
        """Return storescu's options."""
        return ("+tls", str(self.caller_key), str(self.caller_certificate), "+cf", str(self.authority))

    def of_server(self) -> tuple[str, ...]:
        """Return storescp's options."""
        return ("+tls", str(self.key), str(self.certificate), "+cf", str(self.authority))

    def of_orthanc(self) -> dict[str, object]:
        """Return Orthanc's settings."""
        return {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(self.certificate),
            "DicomTlsPrivateKey": str(self.key),
            "DicomTlsTrustedCertificates": str(self.authority),
        }


def receivers(folder: Path) -> list[Receiver]:
    """Return those that can be measured on this machine: oncue without TLS first, then whoever speaks it."""
    credentials = Credentials.make(folder)
    plain = next(one for one in ingest.receivers() if one.name == ingest.ONCUE)
    found = [plain, _over_tls("oncue gateway, TLS", plain, _gateway_command(folder), credentials)]
    storescp, orthanc = ingest.program_of_system("storescp"), ingest.program_of_system("Orthanc")
    for one in ingest.receivers():
        if storescp and one.aet == "STORESCP" and one.nodelay:
            command = ingest.storescp_command(storescp, *credentials.of_server())
            found.append(_over_tls(f"{one.name}, TLS", one, command, credentials))
        if orthanc and one.aet == "ORTHANC":
            command = ingest.orthanc_command(orthanc, **credentials.of_orthanc())
            found.append(_over_tls(f"{one.name}, TLS", one, command, credentials))
    return found


def _over_tls(name: str, plain: Receiver, command: ingest.Command, credentials: Credentials) -> Receiver:
    return Receiver(
        name,
        plain.aet,
        command,
        nodelay=plain.nodelay,
        durable=plain.durable,
        processes=plain.processes,
        sender_options=credentials.of_caller(),
    )


def _gateway_command(folder: Path) -> ingest.Command:
    return lambda port, state: [
        sys.executable,
        "-m",
        "benchmarks.ingest_tls",
        "--receive",
        str(port),
        str(state),
        str(folder),
    ]


def _receive(port: int, state: Path, folder: Path) -> None:
    """Run oncue's gateway with a TLS listener on the port until terminated."""
    credentials = Credentials.make(folder)
    ingest.receive(
        0,
        state,
        1,
        listeners=({"host": _LOOPBACK, "port": port, "tls": True, "client_certificates": "required"},),
        tls_certificate=credentials.certificate,
        tls_key=credentials.key,
        tls_callers_ca=credentials.authority,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=240, help="images per measurement (0.5 MB each)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--receive", nargs=3, metavar=("PORT", "STATE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        port, state, folder = options.receive
        _receive(int(port), Path(state), Path(folder))
        return
    if ingest.program_of_system("storescu") is None:
        raise SystemExit("there is no storescu of DCMTK here, which sends over TLS")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        results = ingest.run(options.images, options.repeats, receivers(Path(place) / "tls"))
    print(f"{os.cpu_count()} CPUs, load average before: {load:.1f}, {options.images} images of 0.5 MB\n")
    ingest.print_table(results)


if __name__ == "__main__":
    main()
