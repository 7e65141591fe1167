"""`oncue send`: send a study as a modality would."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.terminal.options import AsJson

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, help="Folder of DICOM files, or one file; others are skipped.")
]
Target = Annotated[
    str, typer.Argument(metavar="AET@HOST:PORT", help="Who receives them; with TLS, tls://AET@HOST:PORT.")
]
CallingTitle = Annotated[str, typer.Option("--calling", metavar="AET", help="Our AE title as the sender.")]
Trusted = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", help="Whose certificates are trusted (PEM); default: the system's."),
]
OwnCertificate = Annotated[
    Path | None, typer.Option("--certificate", metavar="FILE", help="Our certificate (PEM), where TLS asks for one.")
]
OwnKey = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="Its private key (PEM); default: it stands there, too.")
]


def send_files(
    folder: Folder,
    target: Target,
    *,
    calling: CallingTitle = "MODALITY",
    ca: Trusted = None,
    certificate: OwnCertificate = None,
    key: OwnKey = None,
    as_json: AsJson = False,
) -> None:
    """Send every DICOM file below a folder by C-STORE; exit code 1 where one was not accepted.

    Example: oncue send ./phantom ONCUE@127.0.0.1:11112
    """
    from dataclasses import asdict

    from console.terminal.output import write_json, write_line
    from dicom_gateway.config import GatewaySettings
    from dicom_gateway.destinations import Destination
    from dicom_gateway.sending.folders import send_folder
    from dicom_gateway.status import PeerAnswer
    from dicom_gateway.tls.destination_handshake import DestinationTls

    if key is not None and certificate is None:
        raise typer.BadParameter("--key is given without --certificate: give both")
    tls = DestinationTls(GatewaySettings(tls_destinations_ca=ca, tls_certificate=certificate, tls_key=key))
    found = send_folder(folder, Destination.parse(target), calling_ae_title=calling, tls=tls)
    failures = [outcome for outcome in found.outcomes if outcome.verdict is not PeerAnswer.STORED]
    if as_json:
        write_json([{**asdict(outcome), "verdict": outcome.verdict.value} for outcome in found.outcomes])
    else:
        write_line(f"{len(found.outcomes) - len(failures)} of {len(found.outcomes)} instances accepted by {target}")
        for outcome in failures[:10]:
            write_line(f"  {outcome.file}: [{outcome.code}] {outcome.reason}")
    if failures:
        raise typer.Exit(1)
