"""`oncue send`: send a study as a modality would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.options import AsJson

if TYPE_CHECKING:
    from dicom_gateway.sending.outcomes import SendOutcome

_MOST_REASONS = 10

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
        for line in _failure_lines(failures):
            write_line(f"  {line}")
    if failures:
        raise typer.Exit(1)


def _failure_lines(failures: Sequence[SendOutcome]) -> Iterator[str]:
    """Return what went wrong, each reason once: a refused association is the reason of every file."""
    files_by_reason: dict[tuple[str, str], list[str]] = {}
    for outcome in failures:
        files_by_reason.setdefault((outcome.code, outcome.reason), []).append(outcome.file)
    for (code, reason), files in list(files_by_reason.items())[:_MOST_REASONS]:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        yield f"{files[0]}{more}: [{code}] {reason}"
    if len(files_by_reason) > _MOST_REASONS:
        yield f"and {len(files_by_reason) - _MOST_REASONS} more reasons: see them with --json"
