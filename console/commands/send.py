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
    str,
    typer.Argument(
        metavar="ADDRESS",
        help="Who receives them: AET@HOST:PORT, with TLS tls://AET@HOST:PORT, or a DICOMweb service, https://HOST/PATH.",
    ),
]
CallingTitle = Annotated[
    str, typer.Option("--calling", metavar="AET", help="Our AE title as the sender; a DICOMweb service is told none.")
]
Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        metavar="FILE",
        help="Note in FILE what is accepted, and leave out what it says was accepted before: after a run that ended.",
    ),
]
Credentials = Annotated[
    Path | None,
    typer.Option(
        "--credentials", metavar="FILE", help="For a DICOMweb service: USER:PASSWORD or `Bearer TOKEN` in one line."
    ),
]
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
    credentials: Credentials = None,
    resume: Resume = None,
    as_json: AsJson = False,
) -> None:
    """Send every DICOM file below a folder by C-STORE or STOW-RS; exit code 1 where one was not accepted.

    Example: oncue send ./phantom ONCUE@127.0.0.1:11112 --resume ./sent.txt
    """
    import contextlib
    from dataclasses import asdict

    from console.terminal.output import write_json
    from console.terminal.progress import progress_bar
    from dicom_gateway.config import GatewaySettings
    from dicom_gateway.destinations import WebAddress, parse_address
    from dicom_gateway.sending.folders import FolderTarget, send_folder_to
    from dicom_gateway.sending.send_journal import SendJournal
    from dicom_gateway.status import PeerAnswer
    from dicom_gateway.tls.destination_handshake import DestinationTls
    from storage import logs

    logs.keep_off_standard_output()
    if key is not None and certificate is None:
        raise typer.BadParameter("--key is given without --certificate: give both")
    address = parse_address(target)
    if credentials is not None and not isinstance(address, WebAddress):
        raise typer.BadParameter("--credentials are for a DICOMweb service: a peer with an AE title asks for none")
    tls = DestinationTls(GatewaySettings(tls_destinations_ca=ca, tls_certificate=certificate, tls_key=key))
    journal = contextlib.nullcontext() if resume is None else SendJournal(resume, str(address))
    with journal as accepted, progress_bar("instances") as on_progress:
        to = FolderTarget(address, calling, tls=tls, credentials=credentials)
        try:
            found = send_folder_to(folder, to, on_progress, journal=accepted)
        except KeyboardInterrupt:
            _say_interrupted(resume)
            raise
    failures = [outcome for outcome in found.outcomes if outcome.verdict is not PeerAnswer.STORED]
    if as_json:
        write_json([{**asdict(outcome), "verdict": outcome.verdict.value} for outcome in found.outcomes])
    else:
        _write_result(found.outcomes, failures, target)
    if failures:
        raise typer.Exit(1)


def _say_interrupted(resume: Path | None) -> None:
    import sys

    rest = "what was accepted is noted nowhere without --resume FILE"
    if resume is not None:
        rest = f"{resume} has what was accepted, and the same command sends the rest"
    sys.stderr.write(f"interrupted; {rest}\n")


def _write_result(outcomes: Sequence[SendOutcome], failures: Sequence[SendOutcome], target: str) -> None:
    from console.terminal.output import write_line
    from dicom_gateway.sending.folders import BEFORE
    from dicom_gateway.sending.outcomes import INVALID_UID

    before = sum(outcome.reason == BEFORE for outcome in outcomes)
    said = f", {before} of them in an earlier run" if before else ""
    write_line(f"{len(outcomes) - len(failures)} of {len(outcomes)} instances accepted by {target}{said}")
    for line in _reason_lines([*failures, *(outcome for outcome in outcomes if outcome.reason == INVALID_UID)]):
        write_line(f"  {line}")


def _reason_lines(outcomes: Sequence[SendOutcome]) -> Iterator[str]:
    """Return what went wrong or is remarkable, each reason once: a refused association is the reason of every file."""
    files_by_reason: dict[tuple[str, str], list[str]] = {}
    for outcome in outcomes:
        files_by_reason.setdefault((outcome.code, outcome.reason), []).append(outcome.file)
    for (code, reason), files in list(files_by_reason.items())[:_MOST_REASONS]:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        yield f"{files[0]}{more}: [{code}] {reason}" if code else f"{files[0]}{more}: {reason}"
    if len(files_by_reason) > _MOST_REASONS:
        yield f"and {len(files_by_reason) - _MOST_REASONS} more reasons: see them with --json"
