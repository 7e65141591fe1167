"""Send every DICOM file below a folder, as a modality would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dicom_gateway.destinations import Destination
from dicom_gateway.errors import NothingToSend
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.outcomes import SendOutcome
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.sender import DEFAULT_AE_TITLE, send
from dicom_gateway.tls.destination_handshake import DestinationTls

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of each DICOM file, in order of path, and how many files were none."""

    outcomes: tuple[SendOutcome, ...]
    skipped: int


def send_folder(
    folder: Path,
    destination: Destination,
    on_progress: OnProgress | None = None,
    *,
    calling_ae_title: str = DEFAULT_AE_TITLE,
    timeouts: PeerTimeouts | None = None,
    tls: DestinationTls | None = None,
) -> FolderOutcome:
    """Send the DICOM files below a folder, or one file, over one association; NothingToSend where there are none.

    ``on_progress`` is called with the number of instances done and of all, before the first and after each.
    """
    outgoing, skipped = find_outgoing(folder)
    if not outgoing:
        raise NothingToSend(f"no DICOM file among the {skipped} files given; check the folder")
    done = 0

    def count(_: SendOutcome) -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, len(outgoing))

    if on_progress is not None:
        on_progress(0, len(outgoing))
    outcomes = send(
        outgoing, destination, calling_ae_title=calling_ae_title, timeouts=timeouts, tls=tls, on_outcome=count
    )
    return FolderOutcome(outcomes, skipped)


def find_outgoing(folder: Path) -> tuple[tuple[Outgoing, ...], int]:
    """Return the DICOM files below a folder, by path, and how many other files lie there."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    found = [read_outgoing(path) for path in paths]
    outgoing = tuple(file for file in found if file is not None)
    return outgoing, len(found) - len(outgoing)
