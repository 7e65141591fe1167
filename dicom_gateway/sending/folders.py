"""Send every DICOM file below a folder, as a modality would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.errors import NothingToSend
from dicom_gateway.sending import dicomweb
from dicom_gateway.sending.associations import PeerTimeouts
from dicom_gateway.sending.outcomes import Report, SendOutcome, stored
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.send_journal import SendJournal
from dicom_gateway.sending.sender import DEFAULT_AE_TITLE, send
from dicom_gateway.status import PeerAnswer
from dicom_gateway.tls.destination_handshake import DestinationTls

OnProgress = Callable[[int, int], None]
BEFORE = "accepted in an earlier run"


@dataclass(frozen=True, slots=True)
class FolderOutcome:
    """What became of each DICOM file, in order of path, and how many files were none."""

    outcomes: tuple[SendOutcome, ...]
    skipped: int


@dataclass(frozen=True, slots=True)
class FolderTarget:
    """Where a folder is sent, and as whom: a peer by C-STORE, or a DICOMweb service by STOW-RS with its credentials."""

    address: Destination | WebAddress
    calling_ae_title: str = DEFAULT_AE_TITLE
    timeouts: PeerTimeouts | None = None
    tls: DestinationTls | None = None
    credentials: Path | None = None

    def send(self, objects: Sequence[Outgoing], on_outcome: Report) -> tuple[SendOutcome, ...]:
        """Send objects and return what became of each, in order."""
        if isinstance(self.address, WebAddress):
            return dicomweb.store(
                objects,
                self.address,
                credentials=self.credentials,
                tls=self.tls,
                timeouts=self.timeouts,
                on_outcome=on_outcome,
            )
        return send(
            objects,
            self.address,
            calling_ae_title=self.calling_ae_title,
            timeouts=self.timeouts,
            tls=self.tls,
            on_outcome=on_outcome,
        )


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
    return send_folder_to(folder, FolderTarget(destination, calling_ae_title, timeouts, tls), on_progress)


def send_folder_to(
    folder: Path,
    target: FolderTarget,
    on_progress: OnProgress | None = None,
    *,
    journal: SendJournal | None = None,
) -> FolderOutcome:
    """Send the DICOM files below a folder, or one file, to any kind of target; NothingToSend where there are none.

    With a ``journal`` those that the target accepted before are not sent again, and count as stored.
    """
    outgoing, skipped = find_outgoing(folder)
    if not outgoing:
        raise NothingToSend(f"no DICOM file among the {skipped} files given; check the folder")
    accepted = [journal is not None and journal.has(one) for one in outgoing]
    missing = [one for one, is_accepted in zip(outgoing, accepted, strict=True) if not is_accepted]
    tally = _Tally(missing, sum(accepted), on_progress, journal)
    sent = iter(target.send(missing, tally.note))
    outcomes = (
        stored(one, 0, BEFORE) if is_accepted else next(sent)
        for one, is_accepted in zip(outgoing, accepted, strict=True)
    )
    return FolderOutcome(tuple(outcomes), skipped)


@dataclass(slots=True)
class _Tally:
    """Counts outcomes as they come, in the order of the objects, and puts the accepted ones into the journal."""

    objects: Sequence[Outgoing]
    before: int
    on_progress: OnProgress | None
    journal: SendJournal | None
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._tell()

    def note(self, outcome: SendOutcome) -> None:
        outgoing = self.objects[self.done]
        self.done += 1
        if self.journal is not None and outcome.verdict is PeerAnswer.STORED:
            self.journal.add(outgoing)
        self._tell()

    def _tell(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.before + self.done, self.before + len(self.objects))


def find_outgoing(folder: Path) -> tuple[tuple[Outgoing, ...], int]:
    """Return the DICOM files below a folder, by path, and how many other files lie there."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    found = [read_outgoing(path) for path in paths]
    outgoing = tuple(file for file in found if file is not None)
    return outgoing, len(found) - len(outgoing)
