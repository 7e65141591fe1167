"""Send every DICOM file below a folder, as a modality would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dicom_gateway.destinations import Destination, WebAddress
from dicom_gateway.errors import NothingToSend, UndecodableObject
from dicom_gateway.sending import dicomweb
from dicom_gateway.sending.associations import DEFAULT_AE_TITLE, PeerTimeouts
from dicom_gateway.sending.outcomes import Report, SendOutcome, stored, unsent
from dicom_gateway.sending.outgoing import Outgoing, read_outgoing
from dicom_gateway.sending.send_journal import SendJournal
from dicom_gateway.sending.sender import send
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
    found, skipped = _read_all(folder)
    if not found:
        raise NothingToSend(f"no DICOM file among the {skipped} files given; check the folder")
    known = [one if isinstance(one, SendOutcome) else _before(one, journal) for one in found]
    missing = [one for one, outcome in zip(found, known, strict=True) if outcome is None and isinstance(one, Outgoing)]
    tally = _Tally(missing, len(found) - len(missing), on_progress, journal)
    sent = iter(target.send(missing, tally.note))
    return FolderOutcome(tuple(outcome or next(sent) for outcome in known), skipped)


def _before(outgoing: Outgoing, journal: SendJournal | None) -> SendOutcome | None:
    """Return what became of a file in an earlier run; None where the target has not accepted it."""
    return stored(outgoing, 0, BEFORE) if journal is not None and journal.has(outgoing) else None


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
    """Return the DICOM files below a folder that can be sent, by path, and how many other files lie there."""
    found, skipped = _read_all(folder)
    outgoing = tuple(one for one in found if isinstance(one, Outgoing))
    return outgoing, skipped + len(found) - len(outgoing)


def _read_all(folder: Path) -> tuple[tuple[Outgoing | SendOutcome, ...], int]:
    """Return the DICOM files below a folder, by path, those that cannot be sent as that; and how many are none."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    read = [_read(path) for path in paths]
    found = tuple(one for one in read if one is not None)
    return found, len(read) - len(found)


def _read(path: Path) -> Outgoing | SendOutcome | None:
    try:
        return read_outgoing(path)
    except UndecodableObject as error:
        return unsent(path, error)
