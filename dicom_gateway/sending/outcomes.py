"""What became of an instance that was to be sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dicom_gateway.errors import GatewayError, PeerRejectedObject, PeerUnreachable
from dicom_gateway.sending.outgoing import Outgoing
from dicom_gateway.status import PeerAnswer, Status, answer_of, meaning, written


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of one instance: the verdict, the peer's DIMSE status where it gave one, and a coded reason.

    A stored one has no code; its reason is a note where the peer held it already, or gave a warning. ``file`` is where
    it lies; its name may identify a patient, so it goes to whoever sends a folder and never into a log. ``was_offered``
    is false where the peer could not be called at all. ``of_form``: no presentation context was agreed on for it.
    """

    sop_instance_uid: str
    verdict: PeerAnswer
    status: int | None
    code: str
    reason: str
    file: str = ""
    was_offered: bool = True
    of_form: bool = False

    @property
    def is_unanswered(self) -> bool:
        """Whether the peer did not say what became of it, so that it may be offered again at once."""
        return self.status is None and self.verdict is PeerAnswer.TRANSIENT

    @property
    def is_over_the_form(self) -> bool:
        """Whether the peer takes no object of its SOP class: another form may stand in."""
        return self.of_form or self.status == Status.SOP_CLASS_NOT_SUPPORTED


INVALID_UID = "accepted, and the SOP Instance UID is invalid (PS3.5 9.1): other peers may refuse it"

Report = Callable[[SendOutcome], None]


def answered(outgoing: Outgoing, status: int, destination: object) -> SendOutcome:
    """Return what a peer's status of C-STORE means; ``destination`` is named in the reason."""
    verdict = answer_of(status)
    said = f"{destination} answered {written(status)}: {meaning(status)}"
    if verdict is PeerAnswer.STORED:
        return stored(outgoing, status, said if status else "")
    error = PeerUnreachable if verdict is PeerAnswer.TRANSIENT else PeerRejectedObject
    return SendOutcome(outgoing.sop_instance_uid, verdict, status, error.code, said, str(outgoing.path))


def stored(outgoing: Outgoing, status: int, note: str) -> SendOutcome:
    """Return the outcome of an instance that the peer holds; the note says what it, or else we, remarked."""
    note = note or (INVALID_UID if outgoing.has_invalid_uid else "")
    return SendOutcome(outgoing.sop_instance_uid, PeerAnswer.STORED, status, "", note, str(outgoing.path))


def unsent(path: Path, error: GatewayError) -> SendOutcome:
    """Return the outcome of a DICOM file that cannot be offered to any peer."""
    return SendOutcome("", PeerAnswer.PERMANENT, None, error.code, str(error), str(path), was_offered=False)


def failed(outgoing: Outgoing, error: GatewayError, *, was_offered: bool = True) -> SendOutcome:
    """Return the outcome of an instance that no peer gave a status for."""
    verdict = PeerAnswer.TRANSIENT if error.retryable else PeerAnswer.PERMANENT
    of_form = isinstance(error, PeerRejectedObject) and error.of_form
    reason, file = str(error), str(outgoing.path)
    return SendOutcome(outgoing.sop_instance_uid, verdict, None, error.code, reason, file, was_offered, of_form)
